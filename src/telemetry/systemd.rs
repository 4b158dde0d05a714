//! What the service manager is told (`sd_notify(3)`): one datagram a message to the socket it names. Never an error for
//! the daemon: without such a socket, or with one that takes nothing, messages go nowhere.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::escape::visible;

/// The service manager's ear, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `$NOTIFY_SOCKET` (a path, or `@` and an abstract name), `$WATCHDOG_USEC` where it is
    /// meant for this process.
    pub fn from_env() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name).ok());
        let meant_for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .filter(|_| meant_for_us)
            .and_then(|text| interval(&text));
        Self { to, watchdog }
    }

    /// Whether there is anybody to tell.
    pub fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    /// How often [`Notifier::watchdog`] is expected: half of what the service manager would tolerate. `None`: it does
    /// not watch.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some())
    }

    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The daemon stops, on purpose.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// Starting takes at least so much longer.
    pub fn extend_timeout(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self, line: &str) {
        // A line break in it would begin another message.
        self.send(&format!("STATUS={}", visible(line)));
    }

    /// Non-blocking: a service manager that stands still misses the message, and nobody waits for it.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.to {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Half of so many microseconds; `None` for zero and for what is no number.
fn interval(micros: &str) -> Option<Duration> {
    let micros: u64 = micros.parse().ok()?;
    (micros > 1).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn to(name: &OsStr) -> Notifier {
        Notifier {
            to: Some(connect(name).unwrap()),
            watchdog: None,
        }
    }

    #[test]
    fn messages_reach_a_socket_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = to(path.as_os_str());
        notifier.ready();
        assert_eq!(heard(&socket), "READY=1");
        notifier.status("two\nlines");
        assert_eq!(heard(&socket), "STATUS=two\\nlines");
        notifier.reloading();
        assert!(heard(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    }

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("reten-outbox-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        to(OsStr::new(&format!("@{name}"))).stopping();
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[test]
    fn a_service_manager_that_is_gone_or_deaf_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        to(path.as_os_str()).ready();
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notifier = to(path.as_os_str());
        for _ in 0..10_000 {
            notifier.watchdog();
        }
        Notifier::default().ready();
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked() {
        assert_eq!(interval("30000000"), Some(Duration::from_secs(15)));
        assert_eq!(interval("0"), None);
        assert_eq!(interval("soon"), None);
    }
}
