//! What the demo does, step by step, and what has to come of it. Each step fails with what was expected and what was
//! seen.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::list;
use crate::clock::{self, Timestamp};
use crate::intake;
use crate::model::{Act, Attempt, StateName};
use crate::store::{Filter, Listed};

use super::narrator::{self, Narrator};
use super::samples::{self, result, scripted, with, without};
use super::stage::DemoStage;

pub(super) async fn play(stage: &mut DemoStage, began: Instant, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = clock::now();
    narrator::opening(stage, out)?;
    let mut narrator = Narrator::new(out);
    dropped_as_a_file(stage, &mut narrator, now).await?;
    inserted_as_a_row(stage, &mut narrator, now).await?;
    delivered_after_retries(stage, &mut narrator, now).await?;
    dead_with_its_answer(stage, &mut narrator, now).await?;
    parked_then_overridden(stage, &mut narrator, now).await?;
    invalid_and_never_sent(stage, &mut narrator, now).await?;
    lost_response(stage, &mut narrator, now).await?;
    dropped_twice(stage, &mut narrator, now).await?;
    a_file_with_a_bad_line(stage, &mut narrator, now).await?;
    writeln!(out, "\nThis is what `reten-outbox list` says now:\n")?;
    list::everything(stage.outbox(), clock::now(), out).await?;
    every_result_once(stage)?;
    narrator::closing(stage, began.elapsed(), out)
}

async fn dropped_as_a_file(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("A result is dropped into the inbox as a file")?;
    drop_one(stage, narrator, "visit-1001.json", &result("visit-1001", now))?;
    let listed = stage.rests("visit-1001", StateName::Delivered, None).await?;
    stage.taken("visit-1001.json").await?;
    narrator.outcome(&listed, "the API has it, and the file is gone")
}

async fn inserted_as_a_row(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("Another one comes as a row of the inbox database")?;
    narrator.drops("INSERT INTO inbox (payload) VALUES ('{\"provider_activity_id\": …}')")?;
    let config = stage.config();
    intake::rows::insert(
        &config.inbox.database,
        config.outbox.database.anchor(),
        &[result("call-1002", now).to_string()],
    )
    .await?;
    let listed = stage.rests("call-1002", StateName::Delivered, None).await?;
    narrator.outcome(&listed, "and the row is gone")
}

async fn delivered_after_retries(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("The API is down for a moment: two 503s, then it is well again")?;
    drop_one(
        stage,
        narrator,
        "call-1003.json",
        &scripted(result("call-1003", now), "503x2"),
    )?;
    let listed = stage.rests("call-1003", StateName::Delivered, None).await?;
    let attempts = attempts(stage, &listed).await?;
    anyhow::ensure!(
        attempts.len() == 3,
        "call-1003 should have taken 3 attempts, and took {}",
        attempts.len()
    );
    narrator.attempts(&attempts)?;
    narrator.outcome(&listed, "the waits grow, with some chance in them")
}

async fn dead_with_its_answer(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("The API does not know the commerce: trying again would not help")?;
    let unknown = with(
        result("visit-1004", now),
        "commerce_external_id",
        json!(samples::UNKNOWN_COMMERCE),
    );
    drop_one(stage, narrator, "visit-1004.json", &unknown)?;
    let listed = stage.rests("visit-1004", StateName::Dead, Some("rejected")).await?;
    narrator.outcome(&listed, "a dead letter: it stays until a person acts")?;
    let answer = listed.last.as_ref().and_then(|last| last.answer.as_ref());
    let answer = answer.ok_or_else(|| anyhow::anyhow!("the answer of visit-1004 should have been stored"))?;
    anyhow::ensure!(
        answer.status == 404,
        "visit-1004 should have got 404, and got {}",
        answer.status
    );
    narrator.answer(answer)?;
    narrator.hint(&listed)
}

async fn parked_then_overridden(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("The activity has a result already (409): parked, for a person to decide")?;
    drop_one(
        stage,
        narrator,
        "visit-1005.json",
        &result(samples::TAKEN_ACTIVITY, now),
    )?;
    let parked = stage
        .rests(samples::TAKEN_ACTIVITY, StateName::Parked, Some("conflict"))
        .await?;
    narrator.outcome(&parked, "nothing was overwritten")?;
    narrator.types(&format!("reten-outbox override {}", parked.id))?;
    stage.act(&parked, Act::Override).await?;
    let listed = stage.rests(samples::TAKEN_ACTIVITY, StateName::Delivered, None).await?;
    narrator.outcome(&listed, "sent again with \"hard_override\": true")
}

async fn invalid_and_never_sent(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("A result without its commerce: the API would refuse it, so it is not sent")?;
    drop_one(
        stage,
        narrator,
        "visit-1006.json",
        &without(result("visit-1006", now), "commerce_external_id"),
    )?;
    let listed = stage.rests("visit-1006", StateName::Dead, Some("invalid")).await?;
    narrator.outcome(&listed, listed.invalid.as_deref().unwrap_or_default())?;
    narrator.hint(&listed)
}

async fn lost_response(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("The API takes a result, and the connection breaks before it has answered")?;
    drop_one(
        stage,
        narrator,
        "call-1007.json",
        &scripted(result("call-1007", now), "drop-after-accept"),
    )?;
    let parked = stage
        .rests("call-1007", StateName::Parked, Some("conflict_after_lost_response"))
        .await?;
    narrator.attempts(&attempts(stage, &parked).await?)?;
    narrator.outcome(&parked, "the registered result is very likely ours")?;
    narrator.types(&format!("reten-outbox accept {}", parked.id))?;
    stage.act(&parked, Act::Accept).await?;
    let listed = stage.rests("call-1007", StateName::Delivered, None).await?;
    narrator.outcome(
        &listed,
        "taken for ours; conflict.after_lost_response = \"accept\" does so by itself",
    )
}

async fn dropped_twice(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("The same result is dropped twice, under the key \"crm-8\"")?;
    let keyed = with(
        result("call-1008", now),
        "$outbox",
        json!({"key": "crm-8", "source": "crm"}),
    );
    drop_one(stage, narrator, "call-1008.json", &keyed)?;
    let listed = stage.rests("call-1008", StateName::Delivered, None).await?;
    drop_one(stage, narrator, "call-1008-again.json", &keyed)?;
    stage.taken("call-1008-again.json").await?;
    let count = of_activity(stage, "call-1008").await?.len();
    anyhow::ensure!(
        count == 1,
        "call-1008 should be in the outbox once, and is {count} times"
    );
    narrator.outcome(&listed, "once: the second one was dropped as a duplicate")
}

async fn a_file_with_a_bad_line(stage: &DemoStage, narrator: &mut Narrator<'_>, now: Timestamp) -> anyhow::Result<()> {
    narrator.step("A file of three lines, the second of which breaks off")?;
    let (first, last) = (result("call-1009", now), result("call-1010", now));
    let broken = "{\"provider_activity_id\": \"call-10";
    stage.drop_file("calls.ndjson", &format!("{first}\n{broken}\n{last}\n"))?;
    narrator.drops("inbox/calls.ndjson")?;
    for activity in ["call-1009", "call-1010"] {
        let listed = stage.rests(activity, StateName::Delivered, None).await?;
        narrator.outcome(&listed, "")?;
    }
    stage.taken("calls.ndjson").await?;
    let report = stage.path("inbox/rejected/calls.ndjson.error.json");
    let text = stage
        .until("the report on calls.ndjson", async || {
            Ok(fs::read_to_string(&report).ok())
        })
        .await?;
    let kept = fs::read_to_string(stage.path("inbox/rejected/calls.ndjson"))?;
    anyhow::ensure!(
        kept.trim_end() == broken,
        "rejected/ should hold the bad line alone, and holds: {kept}"
    );
    let report: Value = serde_json::from_str(&text)?;
    narrator.rejected("inbox/rejected/calls.ndjson", &report)
}

/// The API may have registered nothing twice, whatever happened on the way.
fn every_result_once(stage: &DemoStage) -> anyhow::Result<()> {
    for registered in stage.sandbox().results() {
        anyhow::ensure!(
            registered.accepted == 1,
            "{} should be registered once, and is {} times",
            registered.activity,
            registered.accepted
        );
    }
    Ok(())
}

fn drop_one(stage: &DemoStage, narrator: &mut Narrator<'_>, name: &str, result: &Value) -> anyhow::Result<()> {
    stage.drop_file(name, &format!("{result}\n"))?;
    narrator.drops(&format!("inbox/{name}"))
}

async fn attempts(stage: &DemoStage, listed: &Listed) -> anyhow::Result<Vec<Attempt>> {
    let story = stage.outbox().show(listed.id).await?;
    Ok(story.map(|story| story.attempts).unwrap_or_default())
}

async fn of_activity(stage: &DemoStage, activity: &str) -> anyhow::Result<Vec<Listed>> {
    let filter = Filter {
        activity: Some(activity.to_owned()),
        ..Filter::default()
    };
    Ok(stage.outbox().list(&filter, None, 10).await?)
}
