//! Commands that look, while a large backlog drains.

use std::time::Instant;

use crate::daemon::Place;
use crate::drain::IN_FLIGHT;
use crate::figures::{Figures, tell, tell_ratio_of_many};
use crate::fill::{self, Activities};
use crate::server::Server;
use crate::sizes::Sizes;

const SMALL: u64 = 1_000;
const LOOKS: usize = 20;
const COMMANDS: [&[&str]; 3] = [&["list"], &["status"], &["show", "500"]];

/// `list`, `status` and `show`, of a large outbox that drains and of a small one that lies still, in turns.
pub fn looks(sizes: &Sizes) {
    let mut server = Server::start(&[]);
    let small = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, SMALL, Activities::Own, &small.outbox());
    server.expect(SMALL);
    let mut daemon = small.start();
    server.last();
    small.wait_until_delivered(SMALL);
    daemon.stop();
    let large = Place::new(sizes, &server.url, IN_FLIGHT);
    fill::outbox(sizes, sizes.large, Activities::Own, &large.outbox());
    let mut took = [const { [const { Figures::new() }; 2] }; COMMANDS.len()];
    server.expect(sizes.large);
    let mut idle = small.start();
    idle.wait_until_ready();
    let mut busy = large.start();
    server.first();
    for _ in 0..LOOKS {
        for (command, took) in COMMANDS.iter().zip(&mut took) {
            took[0].push(asked(&small, command));
            took[1].push(asked(&large, command));
        }
    }
    assert!(server.count() < SMALL + sizes.large, "the drain was over too soon");
    busy.stop();
    idle.stop();
    for (command, [small, large]) in COMMANDS.iter().zip(&took) {
        tell(&format!("{} of {SMALL}", command[0]), small, " ms");
        tell(
            &format!("{} of {} while they drain", command[0], sizes.large),
            large,
            " ms",
        );
        tell_ratio_of_many("ratio", large, small);
    }
}

fn asked(place: &Place, command: &[&str]) -> f64 {
    let mut program = place.program();
    program.args(command);
    let began = Instant::now();
    let output = program.output().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took.as_secs_f64() * 1e3
}
