//! An API over TLS that takes 20 ms more to answer, as one in another town.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bare;
use crate::daemon::{Place, quoted};
use crate::figures::{Figures, micros_each, rate, tell, tell_ratio};
use crate::fill::{self, Activities};
use crate::server::{self, Server};
use crate::sizes::Sizes;

const IN_FLIGHT: u64 = 256;
const LATENCY_MS: &str = "20";

/// Against the bare loop likewise.
pub fn far(sizes: &Sizes) {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path());
    let mut server = Server::start(&[LATENCY_MS, certificate.to_str().unwrap(), key.to_str().unwrap()]);
    let [mut bare, mut ours, mut bare_cpu, mut our_cpu] = [const { Figures::new() }; 4];
    for _ in 0..sizes.rounds {
        let took = bare::posts(&server.url, sizes.results, IN_FLIGHT, Some(&certificate));
        bare.push(rate(sizes.results, took.elapsed));
        bare_cpu.push(micros_each(sizes.results, took.cpu));
        let mut place = Place::new(sizes, &server.url, IN_FLIGHT);
        place.set("api.ca_file", &quoted(&certificate));
        fill::outbox(sizes, sizes.results, Activities::Own, &place.outbox());
        server.expect(sizes.results);
        let mut daemon = place.start();
        let began = server.first();
        server.last();
        place.wait_until_delivered(sizes.results);
        ours.push(rate(sizes.results, server::since(began)));
        our_cpu.push(micros_each(sizes.results, daemon.usage().cpu));
        daemon.stop();
    }
    tell("bare loop", &bare, "/s");
    tell("drain", &ours, "/s");
    tell_ratio("ratio", &ours, &bare);
    tell("bare loop's processor time a result", &bare_cpu, " us");
    tell("processor time a delivered result", &our_cpu, " us");
}

/// One of its own making, and its key.
fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=bench"])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("`openssl` makes the server's certificate");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}
