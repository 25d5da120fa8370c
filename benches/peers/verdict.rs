//! What redis-lock is to reach beside each language's other locks on Redis.

use crate::bench::report::Report;
use crate::cells::Cell;
use crate::outcome::{Of, Outcome};
use crate::tables::{GRANTS_PER_SECOND, REQUESTS, SMALLEST_SHARE, WAIT_P99_MS};
use crate::workers::{Row, Wait};

/// How many clients the bounds are about.
const CLIENTS: usize = 100;

/// How many times as many grants as the best other lock, by section in microseconds.
const GRANTS: [(u64, f64); 2] = [(100, 1.5), (10_000, 1.0)];
const LEAST_SHARE: f64 = 0.95;
/// The part of the shortest p99 wait of those who wait in this way.
const WAITS: [(Wait, &str, f64); 2] = [(Wait::Poll, "poller", 0.1), (Wait::Push, "pub/sub peer", 0.5)];
const REQUESTS_PER_GRANT: f64 = 2.0;

/// Fills the table of bounds.
pub fn judge(outcome: &Outcome, report: &mut Report) {
    for language in outcome.languages() {
        let Some(ours) = outcome.redis_lock(language) else { continue };
        for (section_us, least) in GRANTS {
            let Some(cell) = cell(outcome, section_us) else { continue };
            let title = cell.title();
            let rivals = rivals(outcome, language, |wait| wait == Wait::Poll || wait == Wait::Push);
            if let Some((ratio, rival)) = closest(outcome, &rivals, cell, GRANTS_PER_SECOND, f64::min) {
                report.goal_at_least(&format!("{language}: grants/s / {rival}, {title}"), ratio, least);
            }
            for (wait, kind, most) in WAITS {
                let rivals = self::rivals(outcome, language, |other| other == wait);
                if let Some((ratio, rival)) = closest(outcome, &rivals, cell, WAIT_P99_MS, f64::max) {
                    report.goal(&format!("{language}: wait p99 / best {kind}'s, {rival}, {title}"), ratio, most);
                }
            }
            if let Some(requests) = outcome.figure(ours, cell, REQUESTS) {
                report.goal(
                    &format!("{language}: requests a grant, {title}"),
                    hundredths(requests.median),
                    REQUESTS_PER_GRANT,
                );
            }
        }
        // With longer sections the clients have too few turns: one more or less is the end of the span.
        if let Some(cell) = cell(outcome, GRANTS[0].0) {
            if let Some(share) = outcome.figure(ours, cell, SMALLEST_SHARE) {
                report.goal_at_least(
                    &format!("{language}: smallest / largest share, {}", cell.title()),
                    share.median,
                    LEAST_SHARE,
                );
            }
        }
    }
}

fn cell(outcome: &Outcome, section_us: u64) -> Option<&'static Cell> {
    outcome
        .scale
        .cells
        .iter()
        .find(|cell| cell.is_contended() && (cell.clients, cell.section_us) == (CLIENTS, section_us))
}

fn rivals<'a>(outcome: &'a Outcome, language: &str, waits: impl Fn(Wait) -> bool) -> Vec<&'a Row> {
    let rows = outcome.rows.iter().filter(|row| row.language == language && !row.is_unsafe() && waits(row.wait()));
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

/// What stands in the tables: a wait that is given up when the worker ends is a request without a grant.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
