//! One series under one rule: the values that can still change, what follows from them, and what
//! was said about it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::{Alert, Change, Kind, State, id_of};
use crate::contributors::Contributor;
use crate::is_time;
use crate::life::{Episode, Life};
use crate::reading::{Point, Samples};
use crate::rules::{Condition, Rule};
use crate::shape::KpiShape;

/// A series. Windows up to `settled` are final: they are in `base` and cannot change it any more.
/// Windows up to `done` have ended: they are in `tip`, which is `base` and those since. A
/// correction of one of those makes `tip` be computed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// A value per key of the rule.
    pub key: Vec<String>,
    /// By the ends of their windows: those not settled, and earlier ones if the rule needs them.
    points: VecDeque<Point>,
    samples: Samples,
    base: Life,
    /// Alerts that a correction can change.
    said: Vec<Alert>,
    /// Whether `tip` is out of date.
    dirty: bool,
    #[serde(skip)]
    tip: Life,
    /// What `tip` became at the ends of windows that are not settled.
    #[serde(skip)]
    trail: VecDeque<(i64, Life)>,
    /// Episodes in `tip` that are over, but not settled.
    #[serde(skip)]
    closed: Vec<Episode>,
}

/// How far a rule has come, as ends of windows in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Windows up to this one have ended.
    pub done: Option<i64>,
    /// Windows up to this one are final.
    pub settled: Option<i64>,
}

/// What says where a rise comes from: of the series, in the window that ends then, above the limit.
pub(crate) type Fill<'a> = dyn FnMut(&[String], i64, f64) -> (Vec<Contributor>, Vec<String>) + 'a;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It says something new.
    New,
    /// Nothing new.
    Known,
    /// Its window was final.
    Late,
}

impl Series {
    pub fn new(key: Vec<String>) -> Self {
        Self {
            key,
            points: VecDeque::new(),
            samples: Samples::default(),
            base: Life::Idle,
            said: Vec::new(),
            dirty: false,
            tip: Life::Idle,
            trail: VecDeque::new(),
            closed: Vec::new(),
        }
    }

    /// Takes in a row.
    pub fn put(&mut self, point: Point, times: Times) -> Put {
        if times.settled.is_some_and(|settled| point.end_ms <= settled) {
            return Put::Late;
        }
        let changes = times.done.is_some_and(|done| point.end_ms <= done);
        // Nearly all are of the newest window.
        let place = match self.points.back() {
            Some(last) if last.end_ms >= point.end_ms => {
                self.points.partition_point(|other| other.end_ms < point.end_ms)
            }
            _ => self.points.len(),
        };
        match self.points.get_mut(place).filter(|other| other.end_ms == point.end_ms) {
            Some(known) if known.revision > point.revision => return Put::Known,
            Some(known) if (known.value, known.n) == (point.value, point.n) => {
                known.revision = point.revision;
                return Put::Known;
            }
            Some(known) => *known = point,
            None => self.points.insert(place, point),
        }
        self.dirty |= changes;
        Put::New
    }

    /// The alerts that fire, as they were said last.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.said.iter().filter(|alert| alert.state == State::Firing)
    }

    /// The alerts that a correction can change.
    pub fn said(&self) -> &[Alert] {
        &self.said
    }

    /// Whether forgetting it changes nothing.
    pub fn is_idle(&self) -> bool {
        self.tip == Life::Idle
            && self.base == Life::Idle
            && self.points.is_empty()
            && self.trail.is_empty()
            && self.said.is_empty()
            && self.closed.is_empty()
            && self.samples.hours.is_empty()
    }

    /// When it can change next without a further row, in ms.
    pub fn next_ms(&self, rule: &Rule, done: i64) -> Option<i64> {
        let soon = done.saturating_add(rule.slide_ms);
        let upto = self.points.partition_point(|point| point.end_ms <= done);
        let early = self.points.get(upto);
        let last = upto.checked_sub(1).map(|last| self.points[last].end_ms);
        let echo = last.is_some_and(|last| last.saturating_add(rule.echo_ms()) > soon);
        let firing = self.tip.firing().map(|episode| {
            let over = episode.last_ms.saturating_add(rule.keep_firing_for_ms);
            let steps = over.saturating_sub(done).max(1) as u64;
            done.saturating_add(steps.div_ceil(rule.slide_ms as u64) as i64 * rule.slide_ms)
        });
        early.map(|point| point.end_ms).into_iter().chain(echo.then_some(soon)).chain(firing).min()
    }

    /// Goes on from `before` to `after`, and says what has changed.
    pub fn tick(
        &mut self,
        rule: &Arc<Rule>,
        now_ms: i64,
        before: Times,
        after: Times,
        fill: &mut Fill<'_>,
        out: &mut Vec<Change>,
    ) {
        if let Condition::Baseline(_) = rule.condition {
            self.remember(rule, before, after);
        }
        if self.dirty {
            self.dirty = false;
            self.refold(rule, before);
            self.say(rule, now_ms, before, before.done, true, fill, out);
        }
        if after.done > before.done
            && let Some(done) = after.done
        {
            let closed = self.closed.len();
            let was_firing = self.tip.firing().is_some();
            self.fold(rule, before.done, done);
            // Nearly always there is nothing to say.
            if was_firing != self.tip.firing().is_some() || self.closed.len() > closed {
                self.say(rule, now_ms, before, after.done, false, fill, out);
            } else if let Some(episode) = self.tip.firing() {
                let said = self.said.iter_mut().rev().find(|alert| alert.state == State::Firing);
                said.into_iter().for_each(|alert| alert.episode = *episode);
            }
        }
        if after.settled > before.settled
            && let Some(settled) = after.settled
        {
            self.settle(rule, settled);
        }
    }

    /// Computes again what is not settled.
    fn refold(&mut self, rule: &Rule, times: Times) {
        self.closed.clear();
        self.trail.clear();
        self.tip = self.base;
        if let Some(done) = times.done {
            self.fold(rule, times.settled, done);
        }
    }

    /// Computes what is not saved. A correction that has come since the last tick is not in what
    /// was said then, and makes the next one compute it.
    pub fn restored(&mut self, rule: &Rule, times: Times) {
        if !self.dirty {
            self.refold(rule, times);
        }
    }

    /// Whether it can be gone on from.
    pub fn is_whole(&self, rule: &Rule, times: Times, shape: &KpiShape) -> bool {
        let is_end = |ms: i64| is_time(ms) && shape.last_end(ms) == ms;
        let is_past = |ms: i64, upto: Option<i64>| is_end(ms) && Some(ms) <= upto;
        let is_finite = |value: f64| value.is_finite();
        let episode = |episode: &Episode, upto: Option<i64>| {
            let Episode { since_ms, started_ms, value, limit, peak, peak_ms, last_ms, resolved_ms, .. } =
                *episode;
            [since_ms, started_ms, peak_ms, last_ms].into_iter().all(|ms| is_past(ms, upto))
                && resolved_ms.is_none_or(|ms| is_past(ms, times.done) && ms >= started_ms)
                && [value, limit, peak].into_iter().all(is_finite)
        };
        let life = match &self.base {
            Life::Idle => true,
            Life::Pending { since_ms, peak, peak_ms } => {
                is_past(*since_ms, times.settled) && is_past(*peak_ms, times.settled) && is_finite(*peak)
            }
            Life::Firing(firing) => firing.resolved_ms.is_none() && episode(firing, times.settled),
        };
        let kept_from = times.settled.map(|settled| settled.saturating_sub(rule.memory_ms()));
        life && self.key.len() == rule.by.len()
            && self.points.iter().is_sorted_by(|a, b| a.end_ms < b.end_ms)
            && self.points.iter().all(|point| {
                is_end(point.end_ms) && Some(point.end_ms) > kept_from && point.value.is_none_or(is_finite)
            })
            && self.said.iter().all(|alert| {
                alert.key == self.key
                    && alert.revision < 1 << 48
                    && is_end(alert.first_ms)
                    && episode(&alert.episode, times.done)
            })
            && self.samples.hours.keys().all(|hour| is_time(hour.saturating_mul(3_600_000)))
            && self.samples.hours.values().flatten().copied().all(is_finite)
    }

    /// Keeps values for the baseline of the weeks to come.
    fn remember(&mut self, rule: &Rule, before: Times, after: Times) {
        let from = self.points.partition_point(|point| Some(point.end_ms) <= before.settled);
        let to = self.points.partition_point(|point| Some(point.end_ms) <= after.settled);
        let step_ms = rule.sample_ms();
        for point in self.points.range(from.min(to)..to) {
            if (point.end_ms - rule.size_ms).rem_euclid(step_ms) == 0
                && let Some(value) = rule.relied_on(point)
            {
                self.samples.push(point.end_ms, value);
            }
        }
    }

    fn settle(&mut self, rule: &Rule, settled: i64) {
        while let Some(&(end_ms, life)) = self.trail.front()
            && end_ms <= settled
        {
            self.base = life;
            self.trail.pop_front();
        }
        self.closed.retain(|episode| episode.resolved_ms > Some(settled));
        let kept_from = settled.saturating_sub(rule.memory_ms());
        while self.points.front().is_some_and(|point| point.end_ms <= kept_from) {
            self.points.pop_front();
        }
        // An id is not given again while a correction could ask for one of the same start.
        self.said.retain(|alert| {
            let over = alert.episode.resolved_ms.or((alert.state == State::Withdrawn).then_some(i64::MIN));
            over.is_none_or(|over_ms| over_ms.max(alert.first_ms) > settled)
        });
        if let Condition::Baseline(baseline) = &rule.condition {
            self.samples.forget(settled, baseline.weeks);
        }
    }

    /// Lives through the windows after `from`, up to `to`.
    fn fold(&mut self, rule: &Rule, from: Option<i64>, to: i64) {
        let Self { points, samples, tip, trail, closed, .. } = self;
        let mut upto = points.partition_point(|point| Some(point.end_ms) <= from);
        let mut end_ms = match (from, points.front()) {
            (Some(from), _) => from + rule.slide_ms,
            (None, Some(first)) => first.end_ms,
            (None, None) => return,
        };
        let echo_ms = rule.echo_ms();
        while end_ms <= to {
            let next = points.get(upto).map(|point| point.end_ms);
            if *tip == Life::Idle && next != Some(end_ms) {
                let last = upto.checked_sub(1).map(|last| points[last].end_ms);
                if last.is_none_or(|last| end_ms - last >= echo_ms) {
                    // Nothing happens until the next row.
                    match next {
                        Some(next) if next <= to => end_ms = next,
                        _ => return,
                    }
                }
            }
            if points.get(upto).is_some_and(|point| point.end_ms == end_ms) {
                upto += 1;
            }
            let reading = rule.reading(points, upto, end_ms, samples);
            let before = *tip;
            closed.extend(tip.step(rule, end_ms, reading));
            if *tip != before {
                trail.push_back((end_ms, *tip));
            }
            end_ms += rule.slide_ms;
        }
    }

    /// Compares what follows from the values with what was said, and says the difference.
    /// `corrected`: it comes from a correction, and not from further windows.
    #[expect(clippy::too_many_arguments)]
    fn say(
        &mut self,
        rule: &Arc<Rule>,
        now_ms: i64,
        before: Times,
        done: Option<i64>,
        corrected: bool,
        fill: &mut Fill<'_>,
        out: &mut Vec<Change>,
    ) {
        let latest = done.and_then(|done| {
            let upto = self.points.partition_point(|point| point.end_ms <= done);
            rule.reading(&self.points, upto, done, &mut self.samples).map(|reading| reading.value)
        });
        // What was over when it became settled stays as it is.
        let is_open =
            |alert: &Alert| alert.episode.resolved_ms.is_none_or(|over_ms| Some(over_ms) > before.settled);
        let mut taken: Vec<bool> = self.said.iter().map(|alert| !is_open(alert)).collect();
        let episodes: Vec<Episode> = self.closed.iter().chain(self.tip.firing()).copied().collect();
        let mut saying = Saying { rule, now_ms, latest, fill, out };
        for episode in episodes {
            let is_of = |alert: &Alert, withdrawn: bool| match withdrawn {
                true => alert.state == State::Withdrawn && alert.episode.started_ms == episode.started_ms,
                false => alert.state != State::Withdrawn && alert.episode.overlaps(&episode),
            };
            let find = |withdrawn: bool| {
                self.said.iter().zip(&taken).position(|(alert, &taken)| !taken && is_of(alert, withdrawn))
            };
            match find(false).or_else(|| find(true)) {
                Some(place) => {
                    taken[place] = true;
                    saying.update(&mut self.said[place], episode, corrected);
                }
                None => {
                    let mut id = id_of(rule, &self.key, episode.started_ms);
                    while self.said.iter().any(|alert| alert.id == id) {
                        id.push('~');
                    }
                    self.said.push(Alert {
                        id,
                        revision: 0,
                        state: State::Withdrawn,
                        key: self.key.clone(),
                        first_ms: episode.started_ms,
                        episode,
                        latest: None,
                        contributors: Vec::new(),
                        worst: Vec::new(),
                    });
                    taken.push(true);
                    if let Some(alert) = self.said.last_mut() {
                        saying.update(alert, episode, corrected);
                    }
                }
            }
        }
        for (alert, taken) in self.said.iter_mut().zip(taken) {
            if !taken && alert.state != State::Withdrawn {
                saying.say(alert, Kind::Withdrawn, State::Withdrawn);
            }
        }
    }
}

/// Says changes of alerts.
struct Saying<'a, 'f> {
    rule: &'a Arc<Rule>,
    now_ms: i64,
    latest: Option<f64>,
    fill: &'a mut Fill<'f>,
    out: &'a mut Vec<Change>,
}

impl Saying<'_, '_> {
    /// The alert is of this episode.
    fn update(&mut self, alert: &mut Alert, episode: Episode, corrected: bool) {
        let before = std::mem::replace(&mut alert.episode, episode);
        let seen = |episode: &Episode| Episode { last_ms: 0, ..*episode };
        match (alert.state, episode.resolved_ms) {
            (State::Firing, None) | (State::Resolved, Some(_)) => {
                if corrected && seen(&before) != seen(&episode) {
                    self.fill(alert);
                    self.say(alert, Kind::Amended, alert.state);
                }
            }
            (State::Firing, Some(_)) => self.say(alert, Kind::Resolved, State::Resolved),
            (State::Resolved | State::Withdrawn, resolved_ms) => {
                self.fill(alert);
                alert.episode.resolved_ms = None;
                self.say(alert, Kind::Firing, State::Firing);
                if resolved_ms.is_some() {
                    alert.episode.resolved_ms = resolved_ms;
                    self.say(alert, Kind::Resolved, State::Resolved);
                }
            }
        }
    }

    fn fill(&mut self, alert: &mut Alert) {
        let Episode { started_ms, limit, .. } = alert.episode;
        let (found, worst) = (self.fill)(&alert.key, started_ms, limit);
        // Of a window long over not everything is known any more: then what was found stays.
        alert.contributors.retain(|old| found.iter().all(|new| new.dimension != old.dimension));
        alert.contributors.extend(found);
        if !worst.is_empty() {
            alert.worst = worst;
        }
    }

    fn say(&mut self, alert: &mut Alert, kind: Kind, state: State) {
        alert.state = state;
        alert.revision += 1;
        alert.latest = self.latest;
        let rule = self.rule.clone();
        self.out.push(Change { kind, at_ms: self.now_ms, rule, alert: alert.clone() });
    }
}
