//! The daemon: starts the services in their order, watches over them, carries a reload to them, and stops them in
//! theirs.
//!
//! - [`run`]: the process, from the first log line to the exit. [`Services`]: everything that runs between, with no
//!   signal and no global of its own, so that `demo` runs the very same.
//! - `reload`: a new configuration or key, all or nothing. `held_key`: which key that is, for those who put another one
//!   in place. `housekeeping`: retention. `bookkeeping`: counts and orders that another hand changed. `reporter`: how
//!   the queue is, for the log, for systemd and for `status`. `watchdog`: signs of life, as long as every loop gets on.
//!
//! A service that ends or panics though nobody asked ends the process: the service manager starts it anew, and what it
//! left is recovered. A daemon that takes in and no longer sends, or the other way round, would look well and be dead.

mod bookkeeping;
mod held_key;
mod housekeeping;
mod key;
mod minutes;
mod nodes;
mod reload;
mod reporter;
mod run;
mod services;
mod signals;
mod tasks;
mod watchdog;

pub use held_key::{HELD_KEY, HeldKey};
pub use key::KeyFile;
pub use reload::Source;
pub use run::{Start, run};
pub use services::{Services, Setup};
pub use signals::Signals;
pub use tasks::TaskEnded;
