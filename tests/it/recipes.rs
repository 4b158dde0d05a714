//! The manual's recipes for producers, as they stand there: taken out of README.md and run against a daemon, where their
//! language is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{World, eventually};

/// Where the recipes drop files, and insert rows.
const INBOX: &str = "/var/spool/reten-outbox/inbox";
const ROWS: &str = "/var/spool/reten-outbox/db/inbox.db";

/// The code below the mark of this recipe, with the places of this world.
fn recipe(world: &World, name: &str) -> String {
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mark = format!("<!-- recipe: {name} -->\n```");
    let (_, after) = manual.split_once(&mark).unwrap_or_else(|| panic!("no recipe {name}"));
    let (_, after) = after.split_once('\n').unwrap();
    let (code, _) = after.split_once("\n```").unwrap();
    let place = |relative: &str| world.path(relative).display().to_string();
    format!("{code}\n")
        .replace(ROWS, &place("rows/inbox.db"))
        .replace(INBOX, &place("inbox"))
}

/// Whether a program is there and says so.
fn is_there(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn not_tested(name: &str, why: &str) {
    eprintln!("NOT TESTED: the recipe {name}: {why}");
}

/// Writes the recipe into a file of its own directory, and runs it there; what it drops is delivered as it was.
fn delivers(name: &str, file: &str, program: &str, arguments: &[&str], activity: &str) {
    let mut world = World::new();
    world.start();
    let directory = source(&world, name, file);
    runs(Command::new(program).args(arguments).current_dir(&directory), name);
    delivered(&world, activity);
}

fn source(world: &World, name: &str, file: &str) -> PathBuf {
    let directory = world.path("recipe");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(file), recipe(world, name)).unwrap();
    directory
}

fn runs(command: &mut Command, name: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {}\n{told}", output.status);
}

fn delivered(world: &World, activity: &str) {
    eventually(&format!("{activity} at the API"), || {
        let bodies = world.sandbox.bodies();
        if bodies.iter().any(|body| body.contains(activity)) {
            Ok(())
        } else {
            Err(format!("{bodies:?}\n{:?}\n{}", world.inbox(), world.log()))
        }
    });
    assert!(world.rejected().is_empty(), "{:?}", world.rejected());
    world.taken();
}

/// Whether this Node.js has `node:sqlite`.
fn node_has_sqlite() -> bool {
    is_there("node", &["-e", "require('node:sqlite')"])
}

#[test]
fn in_python() {
    if !is_there("python3", &["-c", "import sqlite3"]) {
        return not_tested("python", "python3 with sqlite3 is not installed");
    }
    delivers("python-file", "drop.py", "python3", &["drop.py"], "visit-4711");
    delivers("python-row", "row.py", "python3", &["row.py"], "visit-4711");
}

#[test]
fn in_node() {
    if !is_there("node", &["--version"]) {
        return not_tested("node", "node is not installed");
    }
    delivers("node-file", "drop.mjs", "node", &["drop.mjs"], "visit-4711");
    if !node_has_sqlite() {
        return not_tested("node-row", "this node has no node:sqlite (it came with 22.5)");
    }
    delivers("node-row", "row.mjs", "node", &["row.mjs"], "visit-4711");
}

#[test]
fn in_php() {
    if !is_there("php", &["--version"]) {
        return not_tested("php", "php is not installed");
    }
    delivers("php-file", "drop.php", "php", &["drop.php"], "visit-4711");
    if !is_there("php", &["-r", "exit((int) !extension_loaded('pdo_sqlite'));"]) {
        return not_tested("php-row", "this php has no pdo_sqlite");
    }
    delivers("php-row", "row.php", "php", &["row.php"], "visit-4711");
}

#[test]
fn in_java() {
    if !is_there("java", &["-version"]) {
        return not_tested("java", "java is not installed");
    }
    delivers("java-file", "Drop.java", "java", &["Drop.java"], "visit-4711");
    let Some(driver) = std::env::var_os("RETEN_TEST_SQLITE_JDBC") else {
        return not_tested("java-row", "$RETEN_TEST_SQLITE_JDBC names no sqlite-jdbc.jar");
    };
    let driver = driver.to_string_lossy();
    delivers(
        "java-row",
        "Row.java",
        "java",
        &["-cp", &driver, "Row.java"],
        "visit-4711",
    );
}

#[test]
fn in_csharp() {
    if !is_there("dotnet", &["--version"]) {
        return not_tested("csharp", "dotnet is not installed");
    }
    for name in ["csharp-file", "csharp-row"] {
        let mut world = World::new();
        world.start();
        let directory = source(&world, name, "Program.cs");
        fs::write(directory.join("recipe.csproj"), CSPROJ).unwrap();
        if !is_there("dotnet", &["restore", &directory.display().to_string()]) {
            return not_tested(name, "its packages cannot be had here");
        }
        runs(Command::new("dotnet").arg("run").current_dir(&directory), name);
        delivered(&world, "visit-4711");
    }
}

const CSPROJ: &str = r#"<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><OutputType>Exe</OutputType><TargetFramework>net8.0</TargetFramework></PropertyGroup>
  <ItemGroup><PackageReference Include="Microsoft.Data.Sqlite" Version="8.0.0" /></ItemGroup>
</Project>
"#;

#[test]
fn in_go() {
    if !is_there("go", &["version"]) {
        return not_tested("go", "go is not installed");
    }
    delivers("go-file", "drop.go", "go", &["run", "drop.go"], "visit-4711");
    let mut world = World::new();
    world.start();
    let directory = source(&world, "go-row", "row.go");
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(&directory).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    if !go(&["mod", "init", "recipe"]) || !go(&["get", "modernc.org/sqlite"]) {
        return not_tested("go-row", "modernc.org/sqlite cannot be had here");
    }
    runs(Command::new("go").args(["run", "."]).current_dir(&directory), "go-row");
    delivered(&world, "visit-4711");
}

#[test]
fn from_a_csv_by_cron_and_jq() {
    if !is_there("jq", &["--version"]) {
        return not_tested("csv", "jq is not installed");
    }
    let mut world = World::new();
    world.start();
    let directory = source(&world, "csv", "csv-to-outbox");
    let table = directory.join("visits.csv");
    let rows = "activity,commerce,when,status,result,comment\r\nvisit-1,COM-1,2026-11-20T15:04:05Z,EFFECTIVE,SALE_COMPLETED,\"signed, \"\"for two\"\"\"\r\nvisit-2,COM-1,2026-11-20T15:09:05Z,EFFECTIVE,SALE_COMPLETED,\r\n";
    let run = |content: &str| {
        fs::write(&table, content).unwrap();
        runs(shell(&directory, &table).current_dir(&directory), "csv");
    };
    run(rows);
    delivered(&world, "visit-1");
    delivered(&world, "visit-2");
    let body = world
        .sandbox
        .bodies()
        .into_iter()
        .find(|body| body.contains("visit-1"))
        .unwrap();
    assert!(body.contains(r#"signed, \"for two\""#), "{body}");
    // The same table with a line more: what was sent is not sent again.
    run(&format!(
        "{rows}visit-3,COM-1,2026-11-20T15:10:05Z,EFFECTIVE,SALE_COMPLETED,third\r\n"
    ));
    delivered(&world, "visit-3");
    assert_eq!(world.sandbox.bodies().len(), 3, "{:?}", world.sandbox.bodies());
}

fn shell(directory: &Path, table: &Path) -> Command {
    let mut command = Command::new("sh");
    command.arg(directory.join("csv-to-outbox")).arg(table);
    command
}
