//! How the sandbox misbehaves: scripts that a result carries in its `external_status`, and chance.
//!
//! A script is `sim:STEP[,STEP…]`; the k-th step answers the k-th request for that result, and when the steps are used
//! up the contract applies again. `STEPxN` stands for N times `STEP`. Everything here is pure: the same script, seed
//! and request number always give the same fault, so that a failed rehearsal can be run again.

use std::time::Duration;

/// What marks an `external_status` as a script.
const PREFIX: &str = "sim:";

/// Named in the answer to an unknown step, so that nobody needs to look them up.
const KNOWN: &str = "a status 200-999 (503, 429@3, 503@date+3), slow=2s, hang, hang-after-accept, hold, \
     hold-after-accept, \
     drop, drop-after-accept, reset, reset-after-accept, cut, drip, empty, endless, html, \
     garbage (these four also with a status: html502), \
     echo-key, big=1MiB, bomb; each may be repeated: 500x2";

/// A longer wait is a typing error, and `hang` says "for ever" better.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// The largest body that `big` builds, in bytes: it is held in memory.
const BIG_MAX: usize = 64 << 20;

/// One way to answer a request. "Accepts" means: judged by the contract, and registered if it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptStep {
    /// The documented answer of that status. A 2xx accepts; a 3xx names a `Location` on this very sandbox, where
    /// following it is seen.
    Status {
        /// 200 to 999.
        status: u16,
        /// The header of that name.
        retry_after: Option<RetryAfterForm>,
    },
    /// Waits, then follows the contract. Nothing is registered if the client leaves earlier.
    Slow(Duration),
    Hang {
        /// Registered before it hangs: the client's timeout hides a success.
        accept: bool,
    },
    /// Answers when told to by the control endpoint.
    Hold {
        /// Registered before it is held; otherwise when it is released.
        accept: bool,
    },
    /// Closes the connection without an answer.
    Drop {
        /// Registered before: the lost response.
        accept: bool,
    },
    /// Like `Drop`, with a TCP reset instead of an orderly close.
    Reset { accept: bool },
    /// Accepts, promises the whole body and closes in the middle of it.
    Cut,
    /// Accepts, and sends the body a byte at a time.
    Drip,
    /// A body that is not the documented one.
    Shaped(Shape, u16),
    /// A 400 that repeats the caller's `x-api-key`.
    EchoKey,
    /// A 400 with a body of that many bytes.
    Big(usize),
    /// A 400 that claims to be compressed.
    Bomb,
}

/// What is put in the place of the documented body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No byte; accepts with a 2xx.
    Empty,
    /// JSON that never ends; accepts with a 2xx.
    Endless,
    /// A captive portal's or a proxy's page; never accepts.
    Html,
    /// Neither JSON nor text; never accepts.
    Garbage,
}

/// The value of a `Retry-After` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryAfterForm {
    /// Digits, sent as they are: also more than any integer holds.
    Seconds(String),
    /// An HTTP date this many seconds from now; negative: in the past.
    Date(i64),
}

/// A step with its spelling and how often it is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptTurn {
    /// As the script spells it, without the repetition.
    pub text: String,
    pub step: ScriptStep,
    times: u64,
}

/// A parsed `sim:` script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(Vec<ScriptTurn>);

impl Script {
    /// Reads an `external_status`; `None` when it is no script.
    pub fn read(external_status: &str) -> Option<Result<Self, String>> {
        let steps = external_status.strip_prefix(PREFIX)?;
        Some(
            steps
                .split(',')
                .map(ScriptTurn::parse)
                .collect::<Result<_, _>>()
                .map(Self),
        )
    }

    /// The turn for the `count`-th request, counted from 0; `None` when the script is used up.
    pub fn turn(&self, mut count: u64) -> Option<&ScriptTurn> {
        self.0.iter().find(|turn| match count.checked_sub(turn.times) {
            Some(left) => {
                count = left;
                false
            }
            None => true,
        })
    }
}

impl ScriptTurn {
    /// Reads one `STEP` or `STEPxN`; the error names a step that the sandbox does not know.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let unknown = || format!("external_status: unknown step `{text}` in a sim: script; known are {KNOWN}");
        let (name, times) = match text.rsplit_once('x') {
            // Not every `x` repeats: a step's name may hold one.
            Some((name, times)) if is_digits(times) => (name.trim_end(), times.parse().map_err(|_| unknown())?),
            _ => (text, 1),
        };
        match step(name) {
            Some(step) if times > 0 => Ok(Self {
                text: name.to_owned(),
                step,
                times,
            }),
            _ => Err(unknown()),
        }
    }
}

fn step(name: &str) -> Option<ScriptStep> {
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return answered(name);
    }
    if let Some((name, value)) = name.split_once('=') {
        return match name {
            "slow" => wait(value).map(ScriptStep::Slow),
            "big" => size(value).map(ScriptStep::Big),
            _ => None,
        };
    }
    Some(match name {
        "hang" => ScriptStep::Hang { accept: false },
        "hang-after-accept" => ScriptStep::Hang { accept: true },
        "hold" => ScriptStep::Hold { accept: false },
        "hold-after-accept" => ScriptStep::Hold { accept: true },
        "drop" => ScriptStep::Drop { accept: false },
        "drop-after-accept" => ScriptStep::Drop { accept: true },
        "reset" => ScriptStep::Reset { accept: false },
        "reset-after-accept" => ScriptStep::Reset { accept: true },
        "cut" => ScriptStep::Cut,
        "drip" => ScriptStep::Drip,
        "echo-key" => ScriptStep::EchoKey,
        "bomb" => ScriptStep::Bomb,
        _ => return shaped(name),
    })
}

/// `503`, `429@3`, `503@date+3`.
fn answered(text: &str) -> Option<ScriptStep> {
    let (code, after) = text
        .split_once('@')
        .map_or((text, None), |(code, after)| (code, Some(after)));
    let retry_after = match after {
        None => None,
        Some(seconds) if is_digits(seconds) => Some(RetryAfterForm::Seconds(seconds.to_owned())),
        Some(date) => Some(RetryAfterForm::Date(date.strip_prefix("date")?.parse().ok()?)),
    };
    Some(ScriptStep::Status {
        status: status(code)?,
        retry_after,
    })
}

/// `html`, `html502`, `empty204`, …
fn shaped(text: &str) -> Option<ScriptStep> {
    let digits_from = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let (name, code) = text.split_at(digits_from);
    let (shape, usual) = match name {
        "empty" => (Shape::Empty, 200),
        "endless" => (Shape::Endless, 201),
        "html" => (Shape::Html, 200),
        "garbage" => (Shape::Garbage, 500),
        _ => return None,
    };
    Some(ScriptStep::Shaped(
        shape,
        if code.is_empty() { usual } else { status(code)? },
    ))
}

/// A 1xx is no answer in HTTP/1.1 but a prelude to one, so it cannot be scripted.
fn status(code: &str) -> Option<u16> {
    let valid = code.len() == 3 && is_digits(code);
    code.parse().ok().filter(|status| valid && (200..=999).contains(status))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn wait(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let wait = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (wait <= WAIT_MAX).then_some(wait)
}

fn size(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number
        .parse::<usize>()
        .ok()?
        .checked_mul(unit)
        .filter(|size| *size <= BIG_MAX)
}

/// Whether chance lets the `n`-th request fail, and with which 5xx; `share` is between 0 and 1.
pub fn by_chance(seed: u64, n: u64, share: f64) -> Option<u16> {
    let mut dice = dice(seed, n);
    (dice.f64() < share).then(|| [500, 502, 503, 504][dice.usize(..4)])
}

/// How long the `n`-th request waits: `latency`, and up to `jitter` more.
pub fn latency(seed: u64, n: u64, latency: Duration, jitter: Duration) -> Duration {
    // Another stream than `by_chance`, or the requests that fail would always be the quick ones.
    latency + jitter.mul_f64(dice(!seed, n).f64())
}

fn dice(seed: u64, n: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> ScriptStep {
        ScriptStep::Status {
            status,
            retry_after: None,
        }
    }

    #[test]
    fn every_step_is_read() {
        let after = |status, retry_after| ScriptStep::Status {
            status,
            retry_after: Some(retry_after),
        };
        for (text, expected) in [
            ("503", status(503)),
            ("999", status(999)),
            ("429@3", after(429, RetryAfterForm::Seconds("3".into()))),
            (
                "429@99999999999999999999",
                after(429, RetryAfterForm::Seconds("99999999999999999999".into())),
            ),
            ("503@date+3", after(503, RetryAfterForm::Date(3))),
            ("503@date-60", after(503, RetryAfterForm::Date(-60))),
            ("slow=250ms", ScriptStep::Slow(Duration::from_millis(250))),
            ("slow=2s", ScriptStep::Slow(Duration::from_secs(2))),
            ("hang", ScriptStep::Hang { accept: false }),
            ("hang-after-accept", ScriptStep::Hang { accept: true }),
            ("hold", ScriptStep::Hold { accept: false }),
            ("hold-after-accept", ScriptStep::Hold { accept: true }),
            ("drop", ScriptStep::Drop { accept: false }),
            ("drop-after-accept", ScriptStep::Drop { accept: true }),
            ("reset", ScriptStep::Reset { accept: false }),
            ("reset-after-accept", ScriptStep::Reset { accept: true }),
            ("cut", ScriptStep::Cut),
            ("drip", ScriptStep::Drip),
            ("html", ScriptStep::Shaped(Shape::Html, 200)),
            ("html502", ScriptStep::Shaped(Shape::Html, 502)),
            ("empty", ScriptStep::Shaped(Shape::Empty, 200)),
            ("empty204", ScriptStep::Shaped(Shape::Empty, 204)),
            ("endless", ScriptStep::Shaped(Shape::Endless, 201)),
            ("garbage", ScriptStep::Shaped(Shape::Garbage, 500)),
            ("echo-key", ScriptStep::EchoKey),
            ("big=1MiB", ScriptStep::Big(1 << 20)),
            ("bomb", ScriptStep::Bomb),
        ] {
            assert_eq!(ScriptTurn::parse(text).map(|turn| turn.step), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_step_is_named() {
        for text in [
            "", "99", "100", "1000", "5xx", "503x0", "503x", "503@", "503@soon", "slow", "slow=2", "slow=2h",
            "big=9GiB", "html20", "held", "drop=1",
        ] {
            let script = format!("sim:503,{text}");
            let error = Script::read(&script).expect("a script").expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("drop-after-accept"),
                "{error}"
            );
        }
    }

    #[test]
    fn steps_are_taken_in_turn_and_then_end() {
        let script = Script::read("sim:500x2, 429@1 ,drop-after-acceptx2")
            .expect("a script")
            .expect("known steps");
        let turns: Vec<_> = (0..6)
            .map(|count| script.turn(count).map(|turn| turn.text.as_str()))
            .collect();
        assert_eq!(
            turns,
            [
                Some("500"),
                Some("500"),
                Some("429@1"),
                Some("drop-after-accept"),
                Some("drop-after-accept"),
                None
            ]
        );
        assert_eq!(Script::read("visited"), None);
    }

    #[test]
    fn chance_keeps_its_share_and_its_seed() {
        let faults = |seed| (0..10_000).filter(|n| by_chance(seed, *n, 0.3).is_some()).count();
        assert!((2_800..3_200).contains(&faults(1)), "{}", faults(1));
        assert_eq!(faults(7), faults(7));
        assert!((0..1_000).all(|n| by_chance(1, n, 0.0).is_none() && by_chance(1, n, 1.0).is_some()));
    }
}
