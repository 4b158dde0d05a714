//! The list of result types, which is also how a refused key is asked whether it works again.

use crate::model::Exchange;
use crate::policy::validate::ResultType;

use super::client::Client;

/// The longest list that is read, in bytes. A tenant has some dozens of types; what is longer is something else.
const LIST_BYTES_MAX: usize = 1 << 20;

/// What came of asking for the result types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalogue {
    Types(Vec<ResultType>),
    /// 401: the key is not known.
    Unauthorized,
    /// 403: the key is known, but may not view activities. It may still be good for submitting.
    Forbidden,
    /// Anything else, in words: it says nothing of the key.
    NoVerdict(String),
}

impl Client {
    /// Asks for them only to hear what is said of the key: whatever list comes is not kept.
    pub async fn ask_of_key(&self) -> Exchange {
        self.ask_result_types(0).await
    }

    /// Asks the API for its result types.
    pub async fn result_types(&self) -> Catalogue {
        match self.ask_result_types(LIST_BYTES_MAX).await {
            Exchange::Failed { fault, on_the_wire: _ } => {
                Catalogue::NoVerdict(format!("{}: {}", fault.kind.into_str(), fault.message))
            }
            Exchange::Answered(answer) => match answer.status {
                401 => Catalogue::Unauthorized,
                403 => Catalogue::Forbidden,
                200 if answer.is_truncated() => {
                    Catalogue::NoVerdict(format!("the list is longer than {LIST_BYTES_MAX} bytes"))
                }
                200 => match serde_json::from_slice::<Vec<ResultType>>(&answer.body) {
                    Ok(types) => Catalogue::Types(types),
                    Err(error) => Catalogue::NoVerdict(format!("200, but no list of result types: {error}")),
                },
                status => Catalogue::NoVerdict(format!("answered with {status}")),
            },
        }
    }
}
