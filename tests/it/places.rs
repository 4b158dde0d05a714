//! The places that others may write, or that are not there alone: names of ours that somebody took first, locks on what
//! is shared, files that may not be read, a file system that hangs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::harness::{World, both, result, within_patience};

/// A user who is not the daemon's.
const STRANGER: u32 = 4711;
/// One who is not root, to whom the daemon is given where rights are to bind it.
const NOBODY: u32 = 65_534;

fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not tried without root: {what}");
    }
    is_root
}

fn may_write(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A second daemon with other settings beside the one that runs; it must end by itself.
fn second_daemon(world: &World, changes: &[(&str, &Path)]) -> Output {
    let mut command = world.command(&["run"]);
    for (name, path) in changes {
        command.env(format!("RETEN_OUTBOX__{name}"), path);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    within_patience(child, "a second daemon")
}

#[test]
fn one_outbox_has_one_daemon_also_by_way_of_a_symbolic_link() {
    let mut world = World::new();
    world.start();
    symlink(world.path("outbox/outbox.db"), world.path("link.db")).unwrap();
    symlink(world.path("outbox"), world.path("elsewhere")).unwrap();
    fs::create_dir_all(world.path("other/inbox")).unwrap();
    for database in ["link.db", "elsewhere/outbox.db", "outbox/outbox.db"] {
        let output = second_daemon(
            &world,
            &[
                ("OUTBOX__DATABASE", &world.path(database)),
                ("INBOX__DIR", &world.path("other/inbox")),
                ("INBOX__DATABASE", &world.path("other/inbox.db")),
            ],
        );
        let told = both(&output);
        assert_eq!(output.status.code(), Some(69), "{database}: {told}");
        assert!(told.contains(&format!("process {}", world.pid())), "{told}");
        // That advice would let two daemons take from one inbox.
        assert!(!told.contains("outbox.database of its own"), "{told}");
    }
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
}

#[test]
fn one_inbox_has_one_daemon_whatever_path_leads_there() {
    let mut world = World::new();
    world.start();
    symlink(world.path("inbox"), world.path("link")).unwrap();
    fs::create_dir(world.path("other")).unwrap();
    for inbox in ["inbox", "link"] {
        let output = second_daemon(
            &world,
            &[
                ("OUTBOX__DATABASE", &world.path("other/outbox.db")),
                ("INBOX__DIR", &world.path(inbox)),
                ("INBOX__DATABASE", &world.path("other/inbox.db")),
            ],
        );
        let told = both(&output);
        assert_eq!(output.status.code(), Some(69), "{inbox}: {told}");
        assert!(
            told.contains("inbox.dir") && told.contains(&format!("process {}", world.pid())),
            "{told}"
        );
    }
    // A daemon that is gone leaves no lock behind.
    world.kill().start();
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
}

#[test]
fn names_of_ours_that_somebody_took_first_keep_no_file_and_no_start() {
    let mut world = World::new();
    let inbox = world.path("inbox");
    // The directory of our own, writable for all, with something in it.
    fs::create_dir_all(inbox.join(".reten-outbox/x")).unwrap();
    may_write(&inbox.join(".reten-outbox"), 0o777);
    fs::write(inbox.join(".hidden"), result("act-1", &json!({})).to_string()).unwrap();
    // The names that the first version used in the inbox itself.
    let inode = fs::metadata(inbox.join(".hidden")).unwrap().ino();
    fs::create_dir_all(inbox.join(format!(".reten-outbox.taken.{inode}/x"))).unwrap();
    fs::rename(inbox.join(".hidden"), inbox.join("one.json")).unwrap();
    world.drop_file("bad.ndjson", format!("bad\n{}\n", result("act-2", &json!({}))));
    world.start();
    world.wait_for("delivered", 2);
    world.taken();
    assert_eq!(world.rejected(), ["bad.ndjson", "bad.ndjson.error.json"]);
    let warning = world.event_where("warning", |line| line["message"].to_string().contains(".reten-outbox"));
    assert!(warning["hint"].to_string().contains("chown"), "{warning}");
    // What it was given instead is found again.
    world.kill().start();
    world.drop_file("more.json", result("act-3", &json!({})).to_string());
    world.wait_for("delivered", 3);
    world.taken();
    let directories = fs::read_dir(&inbox).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".reten-outbox.") && !name.to_string_lossy().contains("taken")
    });
    assert_eq!(directories.count(), 1);
}

#[test]
fn a_probe_that_somebody_took_first_keeps_no_start() {
    let mut world = World::new();
    // The first version tried out its rights under names with its process number; of any number, as far as they can be
    // guessed.
    for number in 0..2000 {
        let pid = std::process::id() + number;
        fs::create_dir_all(world.path(&format!("inbox/.reten-outbox.probe.{pid}/x"))).unwrap();
    }
    world.start();
}

#[test]
fn a_rejected_directory_that_others_may_change_is_not_used_until_it_is_mended() {
    let mut world = World::new();
    let rejected = world.path("inbox/rejected");
    fs::create_dir(&rejected).unwrap();
    may_write(&rejected, 0o777);
    world.start();
    world.drop_file("bad.json", "bad");
    world.drop_file("half.ndjson", format!("bad\n{}\n", result("act-1", &json!({}))));
    world.drop_file("good.json", result("act-2", &json!({})).to_string());
    world.wait_for("delivered", 2);
    let trouble = world.event_where("storage_error", |line| line["operation"] == "use rejected/");
    let told = trouble.to_string();
    assert!(
        told.contains("others may write it") && told.contains("chmod go-w"),
        "{told}"
    );
    let left = world.event_where("file_left", |line| line["file"] == "bad.json");
    assert!(left["hint"].to_string().contains("chmod go-w"), "{left}");
    assert_eq!(world.inbox(), ["bad.json", "half.ndjson"]);
    assert!(world.rejected().is_empty());
    if rustix::process::geteuid().is_root() {
        // Mended halfway: it still belongs to somebody else.
        chown(&rejected, Some(STRANGER), None).unwrap();
        may_write(&rejected, 0o700);
        world.event_where("storage_error", |line| {
            line["error"].to_string().contains("belongs to uid 4711")
        });
        chown(&rejected, Some(0), None).unwrap();
    }
    may_write(&rejected, 0o750);
    world.taken();
    assert_eq!(world.rejected().len(), 4);
    assert_eq!(fs::read_to_string(rejected.join("half.ndjson")).unwrap(), "bad\n");
    world.event_where("intake_resumed", |line| {
        line["message"].to_string().contains("rejected/")
    });
    // Nothing of the file whose good line was in already was taken twice.
    assert_eq!(world.list(&[]).len(), 2);
}

#[test]
fn files_that_may_not_be_read_starve_no_other() {
    const MORE_THAN_ARE_KNOWN: u32 = 50_010;
    if !is_root("files that may not be read") {
        return;
    }
    let mut world = World::new();
    world.run_as(NOBODY);
    let secret = world.path("inbox/00000.json");
    fs::write(&secret, result("secret", &json!({})).to_string()).unwrap();
    may_write(&secret, 0o600);
    for n in 1..MORE_THAN_ARE_KNOWN {
        fs::hard_link(&secret, world.path(&format!("inbox/{n:05}.json"))).unwrap();
    }
    let good = world.path("inbox/good.json");
    fs::write(&good, result("act-1", &json!({})).to_string()).unwrap();
    chown(&good, Some(NOBODY), None).unwrap();
    world.start();
    world.wait_for("delivered", 1);
    // Some are named, the others counted.
    let count = world.event_where("file_left", |line| line["file"].to_string().contains("more files"));
    assert_eq!(count["file"], format!("{} more files", MORE_THAN_ARE_KNOWN - 100));
    assert_eq!(world.events("file_left").len(), 101);
    for n in 1..MORE_THAN_ARE_KNOWN {
        fs::remove_file(world.path(&format!("inbox/{n:05}.json"))).unwrap();
    }
    // The last one may be read from now on.
    chown(&secret, Some(NOBODY), None).unwrap();
    world.wait_for("delivered", 2);
    world.taken();
}

#[test]
fn an_unreadable_file_is_named_with_what_helps_now() {
    if !is_root("files that may not be read") {
        return;
    }
    let mut world = World::new();
    world.run_as(NOBODY).start();
    let path = world.path("secret");
    fs::write(&path, result("act-1", &json!({})).to_string()).unwrap();
    may_write(&path, 0o600);
    fs::rename(&path, world.path("inbox/secret.json")).unwrap();
    let left = world.event("file_left");
    let hint = left["hint"].to_string();
    assert!(hint.contains("chmod g+rw") && hint.contains("at once"), "{left}");
    chown(world.path("inbox/secret.json"), None, Some(NOBODY)).unwrap();
    may_write(&world.path("inbox/secret.json"), 0o660);
    world.wait_for("delivered", 1);
    world.taken();
    assert_eq!(world.events("file_left").len(), 1);
}

#[test]
fn a_rejected_directory_that_root_made_for_itself_is_named_with_its_cure() {
    if !is_root("a directory that the daemon may not write") {
        return;
    }
    let mut world = World::new();
    let rejected = world.path("inbox/rejected");
    world.run_as(NOBODY);
    for mode in [0o755, 0o700] {
        fs::create_dir(&rejected).unwrap();
        may_write(&rejected, mode);
        world.drop_file("bad.json", "bad");
        chown(world.path("inbox/bad.json"), Some(NOBODY), None).unwrap();
        world.start();
        let trouble = world.event_where("storage_error", |line| line["operation"] == "use rejected/");
        assert!(
            trouble["hint"].to_string().contains(&format!("chown {NOBODY}")),
            "{trouble}"
        );
        let left = world.event("file_left");
        assert!(left["hint"].to_string().contains(&format!("chown {NOBODY}")), "{left}");
        chown(&rejected, Some(NOBODY), None).unwrap();
        world.taken();
        world.stop();
        fs::remove_dir_all(&rejected).unwrap();
    }
}

/// The daemon in a view of the file systems of its own, so that what is mounted for it ends with it.
fn start_apart(world: &mut World, before: &str) {
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c"])
        .arg(format!("{before} exec \"$0\" \"$@\""));
    let daemon = world.command(&["run"]);
    command
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .stdin(Stdio::null());
    world.spawn_by(command).started();
}

/// A file system without anybody who answers for it, mounted where the daemon alone sees it.
struct Mounted {
    holder: Child,
}

impl Mounted {
    fn on(world: &World, place: &str, options: &str) -> Self {
        let script = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,$1 none \"$2\" && echo mounted && read end";
        let mut holder = Command::new("nsenter")
            .args(["-t", &world.pid().to_string(), "-m", "sh", "-c", script, "sh", options])
            .arg(world.path(place))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "mounted\n");
        Self { holder }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whatever waits for it is told that it is gone.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn can_mount() -> bool {
    is_root("file systems that hang") && Path::new("/dev/fuse").exists()
}

#[test]
fn an_inbox_that_hangs_stops_no_delivery_and_no_stop() {
    if !can_mount() {
        return;
    }
    let mut world = World::new();
    // Rows are taken beside it, and free space is asked for: that must not hang, either.
    world.set("inbox.min_free_disk", "\"1KiB\"");
    start_apart(&mut world, "");
    world.drop_results("one.ndjson", &[result("act-1", &json!({}))]);
    world.wait_for("delivered", 1);
    let hangs = Mounted::on(&world, "inbox", "rootmode=40000,user_id=0,group_id=0");
    for n in 2..5 {
        world.insert(&result(&format!("act-{n}"), &json!({})));
        world.wait_for("delivered", n);
    }
    let told = world.event_where("storage_error", |line| {
        line["error"].to_string().contains("does not answer")
    });
    assert!(told["hint"].to_string().contains("findmnt"), "{told}");
    // Who looks is told what the outbox has to say.
    let status = world.command(&["status", "--json"]);
    let mut looks = Command::new("nsenter");
    looks
        .args(["-t", &world.pid().to_string(), "-m"])
        .arg(status.get_program());
    let looks = looks
        .args(status.get_args())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = both(&within_patience(looks, "status"));
    assert!(
        told.contains("\"delivered\"") && told.contains("does not answer"),
        "{told}"
    );
    world.insert(&result("act-5", &json!({})));
    world.wait_for("delivered", 5);
    world.stop();
    drop(hangs);
}

#[test]
fn an_inbox_that_hangs_at_the_start_keeps_no_delivery() {
    if !can_mount() {
        return;
    }
    let mut world = World::new();
    world.start();
    world.ok(&["pause"]);
    world.insert(&result("act-1", &json!({})));
    world.wait_for("pending", 1);
    world.kill();
    world.ok(&["resume"]);
    let inbox = world.path("inbox");
    let before = format!(
        "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none '{}' &&",
        inbox.display()
    );
    start_apart(&mut world, &before);
    world.wait_for("delivered", 1);
    world.event_where("storage_error", |line| {
        line["error"].to_string().contains("does not answer")
    });
    world.stop();
}

#[test]
fn one_name_at_which_a_look_fails_is_named_and_keeps_no_other() {
    if !can_mount() {
        return;
    }
    let mut world = World::new();
    // As a producer mounts a file system of its own over its own file: nobody else may even look at it.
    let strange = world.path("inbox/a strange one.json");
    fs::write(&strange, "").unwrap();
    let before = format!(
        "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=100000,user_id={STRANGER},group_id={STRANGER} none '{}' &&",
        strange.display()
    );
    start_apart(&mut world, &before);
    let left = world.event("file_left");
    assert_eq!(left["file"], "a strange one.json");
    // Only a scan finds a link.
    fs::write(world.path("elsewhere.json"), result("act-1", &json!({})).to_string()).unwrap();
    fs::hard_link(world.path("elsewhere.json"), world.path("inbox/good.json")).unwrap();
    world.wait_for("delivered", 1);
    assert_eq!(world.events("file_left").len(), 1);
}
