//! One payload through the command that `edit --with` names.

use std::process::Stdio;

use anyhow::Context as _;
use futures_util::future::try_join;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::cli::exit::CliError;
use crate::model::Payload;

/// The exit statuses by which a shell says that it could not run the command at all.
const CANNOT_RUN: [i32; 2] = [126, 127];

/// The output of the command for this payload; the inner error is why there is none. An outer one ends everything.
pub(super) async fn filtered(
    command: &str,
    payload: &Payload,
    bytes_max: usize,
) -> anyhow::Result<Result<String, String>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("sh cannot be started")?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        anyhow::bail!("sh has no standard input or output");
    };
    let feed = async {
        // A command that does not want all of it is no failure: what it says counts.
        let _ = input.write_all(payload.bytes()).await;
        drop(input);
        Ok::<(), String>(())
    };
    let read = async {
        let mut bytes = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = output.take(limit).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("the command's output cannot be read: {error}"))?;
        if bytes.len() > bytes_max {
            // Dropped with the rest, the command is ended.
            return Err(format!(
                "the command's output is longer than inbox.max_result_size, {bytes_max} bytes"
            ));
        }
        Ok(bytes)
    };
    let bytes = match try_join(feed, read).await {
        Ok(((), bytes)) => bytes,
        Err(why) => return Ok(Err(why)),
    };
    let status = child.wait().await.context("the command's end cannot be waited for")?;
    if status.code().is_some_and(|code| CANNOT_RUN.contains(&code)) {
        return Err(CliError::Refused(format!("`{command}` cannot be run as this user ({status})")).into());
    }
    if !status.success() {
        return Ok(Err(format!("the command ended with {status}")));
    }
    Ok(String::from_utf8(bytes).map_err(|_| "the command's output is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn filter(command: &str, payload: &str) -> Result<String, String> {
        filtered(command, &Payload::from_text(payload), 1 << 20).await.unwrap()
    }

    #[tokio::test]
    async fn a_command_gets_the_payload_and_its_output_counts() {
        assert_eq!(filter("cat", "{}").await.as_deref(), Ok("{}"));
        assert_eq!(
            filter("echo '{\"a\":1}'", &"x".repeat(200_000)).await.as_deref(),
            Ok("{\"a\":1}\n")
        );
        assert!(
            filter("cat; exit 3", "{}")
                .await
                .unwrap_err()
                .contains("exit status: 3")
        );
        assert!(filter("printf '\\377'", "{}").await.unwrap_err().contains("UTF-8"));
        assert!(filter("kill -9 $$", "{}").await.unwrap_err().contains("signal"));
    }

    #[tokio::test]
    async fn what_speaks_without_an_end_is_ended_and_what_is_not_there_ends_everything() {
        let why = filter("yes", &"x".repeat(200_000)).await.unwrap_err();
        assert!(why.contains("longer than inbox.max_result_size"), "{why}");
        let payload = Payload::from_text("{}");
        let error = filtered("no-such-command-here 2>/dev/null", &payload, 10)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cannot be run"), "{error}");
    }
}
