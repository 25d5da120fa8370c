//! What redis-lock is to reach beside each language's other locks on Redis.

use crate::bench::report::Report;
use crate::cells::Cell;
use crate::outcome::{Of, Outcome};
use crate::tables::{GRANTS_PER_SECOND, MOST_GRANTS, REQUESTS, SMALLEST_SHARE, WAIT_BY_CLIENT_P99_MS, WAIT_P99_MS};
use crate::workers::{Row, Wait};

/// How many clients the bounds are about.
const CLIENTS: usize = 100;

/// How many times as many grants as the best other lock, by section in microseconds.
const GRANTS: [(u64, f64); 2] = [(100, 1.5), (10_000, 1.0)];
const LEAST_SHARE: f64 = 0.95;
/// With fewer turns of a client one more or less, which is the end of the span, is more than what a share may lack.
const LEAST_TURNS: f64 = 40.0;
/// The part of the shortest p99 wait of those who wait in this way.
const WAITS: [(Wait, &str, f64); 2] = [(Wait::Poll, "poller", 0.1), (Wait::Push, "pub/sub peer", 0.5)];
const REQUESTS_PER_GRANT: f64 = 2.0;

/// Fills the table of bounds.
pub fn judge(outcome: &Outcome, report: &mut Report) {
    for ours in outcome.rows.iter().filter(|row| row.is_redis_lock()) {
        for (section_us, least) in GRANTS {
            let Some(cell) = cell(outcome, section_us) else { continue };
            grants(outcome, ours, cell, least, report);
            waits(outcome, ours, cell, report);
            if let Some(requests) = outcome.figure(ours, cell, REQUESTS) {
                let name = format!("{}: requests a grant, {}", ours.language, cell.title());
                report.goal(&name, hundredths(requests.median), REQUESTS_PER_GRANT);
            }
        }
        share(outcome, ours, report);
    }
}

fn grants(outcome: &Outcome, ours: &Row, cell: &Cell, least: f64, report: &mut Report) {
    let rivals = rivals(outcome, ours, |wait| wait == Wait::Poll || wait == Wait::Push);
    if let Some((ratio, rival)) = closest(outcome, &rivals, cell, GRANTS_PER_SECOND, f64::min) {
        report.goal_at_least(&format!("{}: grants/s / {rival}'s, {}", ours.language, cell.title()), ratio, least);
    }
}

/// By grant and by client: where one client takes all turns, its own waits hide those of all others.
fn waits(outcome: &Outcome, ours: &Row, cell: &Cell, report: &mut Report) {
    for (wait, kind, most) in WAITS {
        let rivals = rivals(outcome, ours, |other| other == wait);
        for (of, by) in [(WAIT_P99_MS, "by grant"), (WAIT_BY_CLIENT_P99_MS, "by client")] {
            if let Some((ratio, rival)) = closest(outcome, &rivals, cell, of, f64::max) {
                let (language, title) = (&ours.language, cell.title());
                report.goal(&format!("{language}: p99 wait {by} / best {kind}'s: {rival}, {title}"), ratio, most);
            }
        }
    }
}

/// Where the clients have enough turns to tell.
fn share(outcome: &Outcome, ours: &Row, report: &mut Report) {
    let (section_us, _) = GRANTS[0];
    let Some(cell) = cell(outcome, section_us) else { return };
    let turns = outcome.figure(ours, cell, MOST_GRANTS).map_or(0.0, |turns| turns.median);
    if let Some(share) = outcome.figure(ours, cell, SMALLEST_SHARE).filter(|_| turns >= LEAST_TURNS) {
        let name = format!("{}: smallest / largest share, {}", ours.language, cell.title());
        report.goal_at_least(&name, share.median, LEAST_SHARE);
    }
}

fn cell(outcome: &Outcome, section_us: u64) -> Option<&'static Cell> {
    outcome
        .scale
        .cells
        .iter()
        .find(|cell| cell.is_contended() && (cell.clients, cell.section_us) == (CLIENTS, section_us))
}

/// Who waits like that in the language.
fn rivals<'a>(outcome: &'a Outcome, ours: &Row, waits: impl Fn(Wait) -> bool) -> Vec<&'a Row> {
    let is_rival = |row: &&Row| row.language == ours.language && !row.is_unsafe() && waits(row.wait());
    let rows = outcome.rows.iter().filter(is_rival);
    rows.collect()
}

/// The ratio that is hardest for redis-lock, and whose it is.
fn closest(
    outcome: &Outcome,
    rivals: &[&Row],
    cell: &Cell,
    of: Of,
    hardest: fn(f64, f64) -> f64,
) -> Option<(f64, String)> {
    let ratios = rivals.iter().filter_map(|row| {
        let ratio = outcome.ratio(row, cell, of)?.median;
        Some((ratio, format!("{} ({})", row.about.peer, row.about.row)))
    });
    ratios.reduce(|one, other| if hardest(one.0, other.0) == one.0 { one } else { other })
}

/// As it stands in the tables: a few requests are on their way when a worker ends.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
