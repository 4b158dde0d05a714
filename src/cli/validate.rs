//! `validate`: the checks of `enqueue`, and nothing else.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{ValidationMode, ValidationSettings};
use crate::delivery::catalogue::remembered;
use crate::intake::entry::problems;
use crate::intake::open_file::fault_of;
use crate::intake::result_reader::ReadError;
use crate::model::payload::Object;
use crate::policy::validate::{Criteria, ResultType};

use super::context::{Context, Global};
use super::exit::Exit;
use super::input::{ResultFile, open_all};

/// The options of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files of results; none, or `-`: standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub async fn run(args: Args, global: &Global, out: &mut dyn Write) -> anyhow::Result<Exit> {
    // Before we become the outbox's owner, who may not be able to read them.
    let sources = open_all(&args.files)?;
    let context = Context::enter(global)?;
    let all_good = validate(&sources, &context, out).await?;
    Ok(if all_good { Exit::Done } else { Exit::Failed })
}

/// One line a problem, and how much there was; true when there is none. Whatever `validation.mode` says: who asks wants
/// to know.
async fn validate(sources: &[ResultFile], context: &Context, out: &mut dyn Write) -> anyhow::Result<bool> {
    let types = result_types(context).await;
    let settings = ValidationSettings {
        mode: ValidationMode::Strict,
        ..context.config.validation.clone()
    };
    let criteria = Criteria::new(&settings, types, context.now());
    let (mut results, mut wrong) = (0_u64, 0_u64);
    for source in sources {
        let mut pieces = source.pieces(context.config.inbox.max_result_size)?;
        loop {
            let piece = match pieces.read_next() {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(ReadError::Io(error)) => {
                    return Err(anyhow::Error::from(error).context(format!("{} cannot be read", source.shown)));
                }
                Err(ReadError::Bad(bad)) => {
                    writeln!(out, "{}", source.wrong(&bad))?;
                    wrong += 1;
                    break;
                }
            };
            results += 1;
            if let Some(bad) = fault_of(&piece) {
                writeln!(out, "{}", source.wrong(&bad))?;
                wrong += 1;
                continue;
            }
            let Some(object) = piece.text.as_deref().ok().and_then(|text| Object::parse(text).ok()) else {
                continue;
            };
            for problem in problems(&object, &criteria) {
                writeln!(out, "{}", source.says(piece.place, &problem))?;
                wrong += 1;
            }
        }
    }
    writeln!(out, "{}, {}", counted(results, "result"), counted(wrong, "problem"))?;
    Ok(wrong == 0)
}

/// The list of result types as the daemon fetched it last; without one, codes are not checked.
pub(super) async fn result_types(context: &Context) -> Option<Arc<[ResultType]>> {
    if !context.config.validation.result_types {
        return None;
    }
    let outbox = context.open_to_read().await.ok().flatten()?;
    let types = remembered(&outbox).await;
    outbox.close().await;
    types.map(Arc::from)
}

fn counted(number: u64, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
