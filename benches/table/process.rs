//! What the kernel knows of a process and its children: processor time, context switches, memory.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, 100 on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Of a process and its children, from the start of each.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time of all of them, of ended threads too.
    pub cpu: Duration,
    /// The memory of the process itself.
    pub own: Memory,
    /// The sum of its children's; what they share with it (the program's text) is in both.
    pub children: Memory,
}

/// Resident, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now_kib: u64,
    /// The most that it ever was.
    pub peak_kib: u64,
}

/// Of one thread, since it began.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    /// Voluntary and involuntary.
    pub switches: u64,
    pub cpu_ns: u64,
}

/// Nanoseconds of the clock that all processes of a machine share.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// What this process and its children have used.
pub fn usage(pid: u32) -> Usage {
    let mut all = Usage::default();
    for member in family(pid) {
        let Some(stat) = fields_of_stat(member) else { continue };
        let status = fs::read_to_string(format!("/proc/{member}/status")).unwrap_or_default();
        let ticks: u64 = [11, 12].iter().map(|field| stat[*field].parse::<u64>().unwrap()).sum();
        all.cpu += Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
        let memory = if member == pid { &mut all.own } else { &mut all.children };
        memory.now_kib += number(&status, "VmRSS:");
        memory.peak_kib += number(&status, "VmHWM:");
    }
    all
}

/// The threads of this process and its children, by their numbers.
pub fn tasks(pid: u32) -> HashMap<u32, Task> {
    let dirs = family(pid)
        .into_iter()
        .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")));
    let tasks = dirs.flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let status = fs::read_to_string(path.join("status")).ok()?;
        let schedule = fs::read_to_string(path.join("schedstat")).ok()?;
        let task = Task {
            name: fs::read_to_string(path.join("comm")).ok()?.trim_end().to_owned(),
            switches: number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:"),
            cpu_ns: schedule.split(' ').next()?.parse().ok()?,
        };
        Some((path.file_name()?.to_str()?.parse().ok()?, task))
    });
    tasks.collect()
}

/// The process and those that it started, at any depth.
fn family(pid: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap();
    let parents: Vec<(u32, u32)> = pids
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, fields_of_stat(pid)?.get(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything: the state is 0, the parent 1, the times are
/// 11 and 12.
fn fields_of_stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
