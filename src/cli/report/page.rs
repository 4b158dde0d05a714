//! The page. It stands alone: no script, nothing is fetched, and it says so to the browser. Whatever comes from outside
//! is text in it, with what cannot be seen made visible.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::cli::render::escape::visible;
use crate::cli::render::time::{elapsed, span};
use crate::clock::Timestamp;
use crate::policy::gate::GateName;

use super::chart::{self, Axis, Hue, Line};
use super::failures::Failure;
use super::gather::{Fate, LOOKED_AT_MAX, Producer, Report};
use super::series::{Band, Episode, Point};

const STYLE: &str = include_str!("style.css");
/// Forbids the browser whatever the page does not need, should anything in it ever ask for more.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// Episodes of the gate that are told, the newest.
const EPISODES_SHOWN_MAX: usize = 40;

/// A text from outside, as text.
fn text(text: &str) -> Cow<'_, str> {
    let shown = visible(text);
    if !shown.contains(['&', '<', '>', '"', '\'']) {
        return shown;
    }
    let mut escaped = String::with_capacity(shown.len() + 16);
    for c in shown.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// A hint of ours, its commands set apart.
fn with_commands(hint: &str) -> String {
    let mut shown = String::new();
    for (place, part) in hint.split('`').enumerate() {
        let part = text(part);
        // Writing to a String cannot fail.
        let _ = if place % 2 == 1 {
            write!(shown, "<code>{part}</code>")
        } else {
            write!(shown, "{part}")
        };
    }
    shown
}

/// The whole page.
pub fn html(report: &Report) -> anyhow::Result<String> {
    let title = format!("Reten outbox, {} to {}", minute(report.from), minute(report.to));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Reten outbox</h1>\n"
    );
    intro(&mut page, report);
    tiles(&mut page, report);
    over_time(&mut page, report)?;
    episodes(&mut page, report);
    answers(&mut page, report)?;
    failures(&mut page, report);
    parked(&mut page, report);
    producers(&mut page, report);
    open(&mut page, report);
    let _ = writeln!(
        page,
        "<p class=\"faint\">Made by reten-outbox {} at {}.</p>\n</body>\n</html>",
        report.version, report.to
    );
    Ok(page)
}

/// Adds a line.
fn put(page: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(line);
    page.push('\n');
}

fn intro(page: &mut String, report: &Report) {
    let whole = span(report.to.since(report.from));
    put(
        page,
        format_args!(
            "<p class=\"faint\">{} to {} ({whole}). All times are UTC.</p>",
            minute(report.from),
            minute(report.to)
        ),
    );
    match report.counted_since {
        None => {
            put(
                page,
                format_args!(
                    "<p>No daemon has counted in this time: what came in and went out, answer times and the gate are not known. \
                 Failures, producers and what is open are read from the submissions themselves.</p>"
                ),
            );
        }
        Some(since) if since.since(report.from) > Duration::from_mins(5) => {
            put(
                page,
                format_args!("<p>Counted since {}; what came before is not known.</p>", minute(since)),
            );
        }
        Some(_) => {}
    }
}

fn tiles(page: &mut String, report: &Report) {
    let totals = &report.totals;
    let ms = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), elapsed);
    put(page, format_args!("<div class=\"tiles\">"));
    for (number, what) in [
        (count(totals.taken), "taken in"),
        (count(totals.delivered), "delivered"),
        (count(totals.retried), "attempts that were retried"),
        (count(totals.dead), "became dead letters"),
        (count(totals.parked), "were parked"),
        (ms(report.answers.p50_ms), "answer time, median"),
        (ms(report.answers.p95_ms), "answer time, 95 of 100"),
    ] {
        put(
            page,
            format_args!("<div class=\"tile\"><b>{number}</b><span>{what}</span></div>"),
        );
    }
    put(page, format_args!("</div>"));
    let from = |count: u64, what: &str| (count > 0).then(|| format!("{} {what}", self::count(count)));
    let parts: Vec<String> = [
        from(totals.taken_from_files, "from files"),
        from(totals.taken_from_rows, "from rows"),
        from(totals.taken_by_users, "by enqueue"),
        from(totals.invalid, "of them invalid"),
        from(totals.duplicates, "duplicates dropped"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !parts.is_empty() {
        put(
            page,
            format_args!("<p class=\"faint\">Taken in: {}.</p>", parts.join(", ")),
        );
    }
}

fn over_time(page: &mut String, report: &Report) -> anyhow::Result<()> {
    if report.series.is_empty() {
        return Ok(());
    }
    let axis = Axis::new(report.from, report.to);
    let line = |hue, is_filled, value: &dyn Fn(&Point) -> Option<f64>| Line {
        hue,
        is_filled,
        values: spread(report, value),
    };
    put(page, format_args!("<h2>Over time</h2>"));
    let rate = |of: fn(&Point) -> u64| move |point: &Point| Some(number(of(point)) / minutes_of(point, report));
    let lines = [
        line(Hue::Taken, true, &rate(|point| point.taken)),
        line(Hue::Delivered, false, &rate(|point| point.delivered)),
        line(Hue::Retried, false, &rate(|point| point.retried)),
        line(Hue::Dead, false, &rate(|point| point.dead)),
        line(Hue::Parked, false, &rate(|point| point.parked)),
    ];
    let keys = [
        (Hue::Taken, "taken in"),
        (Hue::Delivered, "delivered"),
        (Hue::Retried, "retried"),
        (Hue::Dead, "dead"),
        (Hue::Parked, "parked"),
    ];
    figure(
        page,
        "A minute",
        &keys,
        &drawn(chart::over_time(axis, &lines, &chart::whole))?,
    );
    let keys = gates(&report.gate).map(|gate| (Hue::of_gate(gate), gate.into_str()));
    let title = match report.gate.len() {
        0 | 1 => "The gate".to_owned(),
        _ => {
            let names = report.gate.iter().map(|band| text(&band.node).into_owned());
            format!(
                "The gate of each daemon, from above: {}",
                names.collect::<Vec<_>>().join(", ")
            )
        }
    };
    let bands = drawn(chart::bands(axis, &report.gate))?;
    figure(page, &title, &keys.collect::<Vec<_>>(), &bands);
    let of =
        |of: fn(&super::series::Backlog) -> u64| move |point: &Point| point.backlog.as_ref().map(|all| number(of(all)));
    let lines = [
        line(Hue::Pending, true, &of(|all| all.pending)),
        line(Hue::Dead, false, &of(|all| all.dead)),
        line(Hue::Parked, false, &of(|all| all.parked)),
    ];
    let keys = [(Hue::Pending, "pending"), (Hue::Dead, "dead"), (Hue::Parked, "parked")];
    figure(
        page,
        "In the outbox",
        &keys,
        &drawn(chart::over_time(axis, &lines, &chart::whole))?,
    );
    let lines = [line(Hue::Pending, true, &of(|all| all.oldest_due_seconds))];
    let keys = [(Hue::Pending, "for how long the oldest due one had been due")];
    figure(page, "Delay", &keys, &drawn(chart::over_time(axis, &lines, &seconds))?);
    let lines = [
        line(Hue::Pending, false, &|point| point.p50_ms.map(number)),
        line(Hue::Retried, false, &|point| point.p95_ms.map(number)),
        line(Hue::Dead, false, &|point| point.p99_ms.map(number)),
    ];
    let keys = [
        (Hue::Pending, "median"),
        (Hue::Retried, "95 of 100"),
        (Hue::Dead, "99 of 100"),
    ];
    figure(
        page,
        "Answer times",
        &keys,
        &drawn(chart::over_time(axis, &lines, &millis))?,
    );
    Ok(())
}

/// How much of the time that is told lies in the stretch of a point: at its two ends that is less than elsewhere.
fn minutes_of(point: &Point, report: &Report) -> f64 {
    let end = point.at.min(report.to);
    let begin = point
        .at
        .minus(Duration::from_secs(report.point_seconds))
        .max(report.from);
    end.since(begin).as_secs_f64().max(1.0) / 60.0
}

/// The points of a line, with a break where none was counted.
fn spread(report: &Report, value: &dyn Fn(&Point) -> Option<f64>) -> Vec<(Timestamp, Option<f64>)> {
    let gap = Duration::from_secs(report.point_seconds) * 3 / 2;
    let mut values: Vec<(Timestamp, Option<f64>)> = Vec::with_capacity(report.series.len());
    let mut last: Option<Timestamp> = None;
    for point in &report.series {
        if last.is_some_and(|last| point.at.since(last) > gap) {
            values.push((point.at, None));
        }
        // The last point's stretch goes beyond the time that is told.
        values.push((point.at.min(report.to), value(point)));
        last = Some(point.at);
    }
    values
}

fn gates(bands: &[Band]) -> impl Iterator<Item = GateName> {
    let has = |gate: GateName| {
        bands
            .iter()
            .any(|band| band.episodes.iter().any(|one| one.gate == gate))
    };
    <GateName as strum::VariantArray>::VARIANTS
        .iter()
        .copied()
        .filter(|gate| has(*gate))
        .collect::<Vec<_>>()
        .into_iter()
}

fn figure(page: &mut String, title: &str, keys: &[(Hue, &str)], svg: &str) {
    let keys: String = keys.iter().fold(String::new(), |mut keys, (hue, what)| {
        let _ = write!(
            keys,
            "<span class=\"key\" style=\"--of:var(--{})\">{what}</span>",
            hue.into_str()
        );
        keys
    });
    put(
        page,
        format_args!("<figure><figcaption>{title}: {keys}</figcaption>\n{svg}</figure>"),
    );
}

fn episodes(page: &mut String, report: &Report) {
    let all = report
        .gate
        .iter()
        .flat_map(|band| band.episodes.iter().map(|episode| (band.node.as_str(), episode)));
    let (slow, mut closed): (Vec<_>, Vec<_>) = all
        .filter(|(_, episode)| episode.gate != GateName::Open)
        .partition(|(_, episode)| episode.gate == GateName::Throttled);
    if slow.is_empty() && closed.is_empty() {
        return;
    }
    put(page, format_args!("<h2>When the gate was not open</h2>"));
    if !closed.is_empty() {
        closed.sort_by_key(|(_, episode)| std::cmp::Reverse(episode.from));
        list_episodes(page, &closed, report.gate.len() > 1);
    }
    if !slow.is_empty() {
        let whole: Duration = slow.iter().map(|(_, episode)| episode.to.since(episode.from)).sum();
        put(
            page,
            format_args!(
                "<p>Throttled, so that fewer were sent at a time: {} {}, {} in all.</p>",
                count(slow.len() as u64),
                if slow.len() == 1 { "time" } else { "times" },
                span(whole)
            ),
        );
    }
}

fn list_episodes(page: &mut String, closed: &[(&str, &Episode)], of_nodes: bool) {
    let head = if of_nodes { "<th>Daemon</th>" } else { "" };
    put(
        page,
        format_args!("<table><tr><th>From</th><th>For</th><th>Gate</th>{head}<th>Why</th></tr>"),
    );
    for (node, episode) in closed.iter().take(EPISODES_SHOWN_MAX) {
        let node = if of_nodes {
            format!("<td>{}</td>", text(node))
        } else {
            String::new()
        };
        put(
            page,
            format_args!(
                "<tr><td class=\"when\">{}</td><td class=\"when\">{}</td><td class=\"when\">{}</td>{node}<td>{}</td></tr>",
                second(episode.from),
                span(episode.to.since(episode.from)),
                episode.gate.into_str(),
                text(&episode.why)
            ),
        );
    }
    put(page, format_args!("</table>"));
    if closed.len() > EPISODES_SHOWN_MAX {
        let earlier = count((closed.len() - EPISODES_SHOWN_MAX) as u64);
        put(
            page,
            format_args!("<p class=\"faint\">{earlier} earlier ones are not listed.</p>"),
        );
    }
}

fn answers(page: &mut String, report: &Report) -> anyhow::Result<()> {
    if report.answers.count == 0 {
        return Ok(());
    }
    put(page, format_args!("<h2>Answer times</h2>"));
    let ms = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), elapsed);
    put(
        page,
        format_args!(
            "<p>{} answers: half of them within {}, 95 of 100 within {}, 99 of 100 within {}.</p>",
            count(report.answers.count),
            ms(report.answers.p50_ms),
            ms(report.answers.p95_ms),
            ms(report.answers.p99_ms)
        ),
    );
    let all = &report.answers.histogram;
    let first = all.iter().position(|bucket| bucket.count > 0).unwrap_or(0);
    let last = all.iter().rposition(|bucket| bucket.count > 0).unwrap_or(0);
    let bars: Vec<(String, u64)> = all[first..=last]
        .iter()
        .map(|bucket| {
            let label = bucket
                .up_to_ms
                .map_or_else(|| "more".to_owned(), |limit| millis(number(limit)));
            (label, bucket.count)
        })
        .collect();
    let keys = [(
        Hue::Delivered,
        "how many took at most so long, and longer than the one before",
    )];
    figure(page, "Answers", &keys, &drawn(chart::bars(Hue::Delivered, &bars))?);
    Ok(())
}

fn failures(page: &mut String, report: &Report) {
    put(page, format_args!("<h2>What failed</h2>"));
    if report.failures.is_empty() {
        put(page, format_args!("<p>Nothing that is not delivered by now.</p>"));
    } else {
        put(
            page,
            format_args!(
                "<p class=\"faint\">Dead and parked ones that became so in this time, and pending ones that were tried in vain; \
             numbers in what was said are shown as #.</p>\n<table><tr><th class=\"n\">Count</th><th>What</th>\
             <th>Said</th><th>First and last</th><th>Examples</th></tr>"
            ),
        );
        for failure in &report.failures {
            one_failure(page, failure);
        }
        put(page, format_args!("</table>"));
    }
    if report.other_failures > 0 {
        put(
            page,
            format_args!(
                "<p class=\"faint\">{} more failed in other ways.</p>",
                count(report.other_failures)
            ),
        );
    }
    if report.failures_are_of_newest {
        put(
            page,
            format_args!(
                "<p class=\"faint\">Only the newest {} of each state were looked at.</p>",
                count(LOOKED_AT_MAX)
            ),
        );
    }
}

fn one_failure(page: &mut String, failure: &Failure) {
    let reason = failure.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    let status = failure
        .http_status
        .map(|status| format!(", {status}"))
        .unwrap_or_default();
    let said = failure.error.as_ref().map(|error| text(&error.line()).into_owned());
    let hint = failure
        .hint
        .as_deref()
        .map(|hint| format!("<br><span class=\"faint\">{}</span>", with_commands(hint)));
    let payload = failure
        .payload
        .as_deref()
        .map(|payload| format!("<pre>{}</pre>", text(payload)));
    put(
        page,
        format_args!(
            "<tr><td class=\"n\">{}</td><td>{}{reason}{status}</td><td>{}{}{}</td><td class=\"when\">{}<br>{}</td>\
         <td>{}</td></tr>",
            count(failure.count),
            failure.state,
            said.unwrap_or_default(),
            hint.unwrap_or_default(),
            payload.unwrap_or_default(),
            second(failure.first_seen),
            second(failure.last_seen),
            ids(&failure.examples)
        ),
    );
}

fn parked(page: &mut String, report: &Report) {
    if report.parked.is_empty() {
        return;
    }
    put(page, format_args!("<h2>Conflicts</h2>"));
    put(
        page,
        format_args!("<table><tr><th class=\"n\">Count</th><th>What became of them</th><th>Examples</th></tr>"),
    );
    for Fate { what, count, examples } in &report.parked {
        put(
            page,
            format_args!(
                "<tr><td class=\"n\">{}</td><td>{what}</td><td>{}</td></tr>",
                self::count(*count),
                ids(examples)
            ),
        );
    }
    put(page, format_args!("</table>"));
    of_newest(page, report);
}

fn producers(page: &mut String, report: &Report) {
    if report.producers.is_empty() {
        return;
    }
    put(
        page,
        format_args!(
            "<h2>Producers</h2>\n<p class=\"faint\">What was taken in within this time, by its source, as it stands now.</p>\n\
         <table><tr><th>Source</th><th class=\"n\">Taken in</th><th class=\"n\">Delivered</th><th class=\"n\">Open</th>\
         <th class=\"n\">Dead</th><th class=\"n\">Parked</th><th class=\"n\">Dismissed</th></tr>"
        ),
    );
    for producer in &report.producers {
        one_producer(page, producer);
    }
    put(page, format_args!("</table>"));
    if report.other_producers > 0 {
        put(
            page,
            format_args!(
                "<p class=\"faint\">{} more results came from other producers.</p>",
                count(report.other_producers)
            ),
        );
    }
    of_newest(page, report);
}

fn one_producer(page: &mut String, producer: &Producer) {
    let numbers = [
        producer.taken,
        producer.delivered,
        producer.open,
        producer.dead,
        producer.parked,
        producer.dismissed,
    ];
    let cells: String = numbers.iter().fold(String::new(), |mut cells, number| {
        let _ = write!(cells, "<td class=\"n\">{}</td>", count(*number));
        cells
    });
    let source = producer.source.as_deref().map_or_else(
        || "<span class=\"faint\">no source named</span>".to_owned(),
        |source| text(source).into_owned(),
    );
    put(page, format_args!("<tr><td>{source}</td>{cells}</tr>"));
}

fn of_newest(page: &mut String, report: &Report) {
    if report.producers_are_of_newest {
        put(
            page,
            format_args!(
                "<p class=\"faint\">Only the newest {} submissions were looked at.</p>",
                count(LOOKED_AT_MAX)
            ),
        );
    }
}

fn open(page: &mut String, report: &Report) {
    let open = &report.open;
    put(
        page,
        format_args!(
            "<h2>Now</h2>\n<table class=\"narrow\"><tr><th>State</th><th class=\"n\">Submissions</th><th>Oldest</th></tr>"
        ),
    );
    for one in &open.counts {
        let age = match one.state {
            "pending" => open.oldest_pending_seconds,
            "dead" => open.oldest_dead_seconds,
            _ => None,
        };
        let age = age.map_or_else(String::new, |age| span(Duration::from_secs(age)));
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td>{age}</td></tr>",
                one.state,
                count(one.count)
            ),
        );
    }
    put(page, format_args!("</table>"));
    let why = open.gate.reason.as_deref().map(|why| format!(": {}", text(why)));
    let hint = open
        .gate
        .hint
        .as_deref()
        .map(|hint| format!(" <span class=\"faint\">{}</span>", with_commands(hint)));
    put(
        page,
        format_args!(
            "<p>The gate is {}{}.{}</p>",
            open.gate.name(),
            why.unwrap_or_default(),
            hint.unwrap_or_default()
        ),
    );
    if let Some(due) = open.oldest_due_seconds {
        put(
            page,
            format_args!(
                "<p>The oldest due one has been due for {}.</p>",
                span(Duration::from_secs(due))
            ),
        );
    }
}

fn drawn(svg: Result<String, Box<dyn std::error::Error>>) -> anyhow::Result<String> {
    svg.map_err(|error| anyhow::anyhow!("a chart cannot be drawn: {error}"))
}

fn ids(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `2026-11-23 10:00`
fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

/// `2026-11-23 10:00:00`
fn second(at: Timestamp) -> String {
    at.to_string().chars().take(19).collect::<String>().replace('T', " ")
}

/// With a narrow blank every three digits.
fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

#[expect(clippy::cast_precision_loss, reason = "counts and times far below 2^52")]
fn number(value: u64) -> f64 {
    value as f64
}

/// Seconds on an axis.
fn seconds(value: f64) -> String {
    match value {
        ..120.0 => format!("{value:.0} s"),
        ..7200.0 => format!("{:.0} min", value / 60.0),
        ..172_800.0 => format!("{:.0} h", value / 3600.0),
        _ => format!("{:.0} d", value / 86_400.0),
    }
}

/// Milliseconds on an axis.
fn millis(value: f64) -> String {
    if value < 1000.0 {
        format!("{value:.0} ms")
    } else {
        let seconds = value / 1000.0;
        if seconds.fract() < 0.01 {
            format!("{seconds:.0} s")
        } else {
            format!("{seconds:.1} s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_is_text() {
        assert_eq!(
            text("<script>alert('1')</script>&\"\u{202e}\n"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\\u{202e}\\n"
        );
        assert_eq!(text("plain"), "plain");
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(999), count(0)), ("999".to_owned(), "0".to_owned()));
        assert_eq!(
            [seconds(60.0), seconds(7100.0), millis(1500.0), millis(2000.0)],
            ["60 s", "118 min", "1.5 s", "2 s"]
        );
    }
}
