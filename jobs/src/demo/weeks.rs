//! The day with a model, and the weeks that follow it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use headsup_runtime::{Job, MakeScores};
use headsup_tasks::task::Arm;

use crate::demo::act::Act;
use crate::demo::learn::{MODEL, learn};
use crate::demo::world::World;
use crate::demo::{DAY_MS, Demo, FROM_MS, PACED_MS, POLICY_FILE, say, truth};
use crate::sql::{explain, tokio_runtime};
use crate::{Failure, Place, lift, policy, scoring};

const POLICY: &str = include_str!("policy.toml");
/// In the weeks, the router acts so often.
const LAPSE_MS: i64 = 1_800_000;

/// What scores customers once there is a model.
pub fn scores(place: &Place, job: &Job) -> Result<Option<MakeScores>, Failure> {
    let (registry, policy) = (place.data.join("models"), place.data.join(POLICY_FILE));
    std::fs::create_dir_all(&registry)
        .and_then(|()| std::fs::write(&policy, POLICY))
        .map_err(|error| Failure::new(format!("cannot write into {}: {error}", place.data.display())))?;
    let scores = scoring::scores(&registry, policy::load(Some(&policy))?, job)?;
    Ok(scores.map(|scores| scores.make()))
}

impl Demo {
    /// Goes on from nine in the morning of the day.
    pub fn go_on(&self, world: &mut World<'_>, begin_ms: i64) -> Result<(), Failure> {
        if self.weeks == 0 {
            return world.play_at(self.speed, self.day_ms + DAY_MS, |_| Ok(()));
        }
        let simulated = self.simulated.clone();
        std::thread::scope(|threads| {
            let untouched = threads.spawn(|| truth::untouched(simulated, &self.stop));
            let learning = threads.spawn(|| self.learn(begin_ms));
            let mut act = Act::new(&self.url, &self.token);
            let paced_ms = self.day_ms + FROM_MS + PACED_MS;
            // Until there is a model, and has been for a while.
            while !world.is_stopped() && (world.now_ms < paced_ms || !learning.is_finished()) {
                let until_ms = (world.now_ms + LAPSE_MS).max(paced_ms);
                world.play_at(self.speed, until_ms, |world| self.contact(&mut act, world))?;
            }
            let joined = |_| Failure::new("learning has stopped unexpectedly");
            learning.join().map_err(joined)?.inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            self.lapse(&mut act, world)?;
            let untouched = untouched.join().map_err(joined)??;
            if world.is_stopped() {
                return Ok(());
            }
            self.verdict(&untouched)?;
            // The page stays.
            world.play_at(self.speed, i64::MAX, |world| self.contact(&mut act, world))
        })
    }

    /// Lets agents do what is to be done; whom they get hold of reacts.
    fn contact(&self, act: &mut Act, world: &mut World<'_>) -> Result<(), Failure> {
        for customer_id in act.step(world.now_ms)? {
            world.contact(&customer_id);
        }
        Ok(())
    }

    fn learn(&self, begin_ms: i64) -> Result<(), Failure> {
        // Until what happened before is stored: with the second checkpoint from now on it is.
        let mut from = None;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (watermark_ms, checkpoints) =
                self.board.read(|state| (state.watermark_ms.unwrap_or(i64::MIN), state.checkpoints));
            if watermark_ms >= self.day_ms {
                let from = *from.get_or_insert(checkpoints);
                if checkpoints >= from + 2 {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("\r\x1b[Klearning from the weeks before who returns an order…");
        let said = learn(&self.place, begin_ms, self.day_ms)?;
        eprintln!("\r\x1b[K{said}; from now on it scores");
        Ok(())
    }

    /// Weeks pass as fast as the run can follow: what comes of one half hour is acted on in the next.
    fn lapse(&self, act: &mut Act, world: &mut World<'_>) -> Result<(), Failure> {
        let end_ms = self.day_ms + i64::from(self.weeks * 7 + 1) * DAY_MS;
        while world.now_ms < end_ms && !world.is_stopped() {
            let days = (world.now_ms - self.day_ms) / DAY_MS;
            say(&self.phase, format!("{} weeks pass: day {days}  ", self.weeks));
            world.play_until((world.now_ms + LAPSE_MS).min(end_ms))?;
            world.wait(self.disorder_ms, |_| {});
            self.contact(act, world)?;
        }
        say(&self.phase, "");
        Ok(())
    }

    /// What the campaign did, as measured and in truth.
    fn verdict(&self, untouched: &truth::Outcomes) -> Result<(), Failure> {
        // What is not stored yet is of the last seconds.
        std::thread::sleep(Duration::from_millis(2 * self.flush_ms));
        let policy = self.place.data.join(POLICY_FILE);
        let rules = policy::load(Some(&policy))?;
        let Some(campaign) = rules.campaigns.iter().find(|campaign| campaign.model == MODEL) else {
            return Err(Failure::new(format!("no campaign is by model {MODEL}")));
        };
        let lift = lift::of_campaign(&self.place, Some(&policy), &campaign.name)?;
        eprintln!(
            "\r\x1b[K\nheadsup lift {} --data {} --policy {}\n\n{lift}",
            campaign.name,
            self.place.data.display(),
            policy.display()
        );
        let (Some(effect), Some(rate)) = (&lift.effect, lift.treated.rate) else { return Ok(()) };
        let horizon_ms = (lift.plan.horizon_days * DAY_MS as f64) as i64;
        let without = truth::rate(&self.treated(&campaign.name, horizon_ms)?, horizon_ms, untouched);
        let points = |share: f64| format!("{:+.1}", share * 100.0);
        let truth = rate.value - without;
        let covers = (effect.difference.low..=effect.difference.high).contains(&truth);
        eprintln!(
            "in truth       {} points: of the same customers in the same weeks, but without contacts, {:.1} % had sent something \
             back, not {:.1} %. The interval above {} that.",
            points(truth),
            without * 100.0,
            rate.value * 100.0,
            if covers { "has" } else { "does not have" }
        );
        eprintln!("the page stays until Ctrl-C");
        Ok(())
    }

    /// Those who were to be contacted, and since when, if their outcome is known.
    fn treated(&self, campaign: &str, horizon_ms: i64) -> Result<Vec<(String, i64)>, Failure> {
        let query = format!(
            "SELECT customer_id, arrow_cast(min(at), 'Int64') / 1000 AS at_ms FROM tasks
             WHERE event = 'task.assigned' AND campaign = '{campaign}' AND arm = '{}' GROUP BY customer_id
             HAVING min(at) + INTERVAL '{horizon_ms} milliseconds' <= (SELECT max(at) FROM orders)",
            Arm::Treated.name()
        );
        let settings = self.place.config()?.kpis;
        let batches = tokio_runtime()?.block_on(async {
            let context = headsup_runtime::session(&self.place.data, &[], &settings.calendar).await?;
            context.sql(&query).await?.collect().await
        });
        let mut customers = Vec::new();
        for batch in batches.map_err(|error| Failure::new(explain(&error)))? {
            let names = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)
                .map_err(Failure::from_error)?;
            let times = batch.column(1).as_primitive::<Int64Type>();
            let names = names.as_string::<i32>();
            customers
                .extend((0..batch.num_rows()).map(|row| (names.value(row).to_owned(), times.value(row))));
        }
        Ok(customers)
    }
}
