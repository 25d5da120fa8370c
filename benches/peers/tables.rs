//! The tables of the report.

use crate::bench::report::{Cell as Figure, Entry, Report, Table};
use crate::cells::Cell;
use crate::outcome::{Of, Outcome};
use crate::protocol::Times;
use crate::trial::{Bystander, Load, Trial};
use crate::workers::Row;

/// A column: its heading, how many digits matter, what stands in it.
type Column = (&'static str, usize, Of);

fn load(trial: &Trial, of: fn(&Load) -> f64) -> Option<f64> {
    trial.server.as_ref().map(of)
}

fn others(trial: &Trial, of: fn(&Bystander) -> f64) -> Option<f64> {
    trial.bystander.as_ref().map(of)
}

fn wait_ms(trial: &Trial, of: fn(&Times) -> f64) -> Option<f64> {
    trial.valid().map(|found| of(&found.wait_us) / 1000.0)
}

fn handoff_us(trial: &Trial, of: fn(&Times) -> f64) -> Option<f64> {
    trial.valid()?.handoff_us.as_ref().map(of)
}

pub const GRANTS_PER_SECOND: Of = |trial| trial.valid().map(|found| found.grants_per_second());
pub const SMALLEST_SHARE: Of = |trial| trial.valid().map(|found| found.smallest_share());
/// Of one client.
pub const MOST_GRANTS: Of =
    |trial| trial.valid().and_then(|found| found.per_client.iter().max()).map(|most| *most as f64);
pub const REQUESTS: Of = |trial| trial.server.as_ref()?.requests_per_grant;
pub const WAIT_P99_MS: Of = |trial| wait_ms(trial, |times| times.p99);
pub const WAIT_BY_CLIENT_P99_MS: Of = |trial| Some(trial.valid()?.wait_by_client_us.as_ref()?.p99 / 1000.0);
pub const HANDOFF_P50_US: Of = |trial| handoff_us(trial, |times| times.p50);
pub const HANDOFF_P99_US: Of = |trial| handoff_us(trial, |times| times.p99);

const UNCONTENDED: [Column; 5] = [
    ("server CPU, us a pair", 1, |trial| load(trial, |load| load.cpu_us_per_grant)),
    ("requests a pair", 2, REQUESTS),
    ("commands a pair", 2, |trial| load(trial, |load| load.commands_per_grant)),
    ("acquire p50, us", 1, |trial| trial.valid().map(|found| found.wait_us.p50)),
    ("acquire p99, us", 1, |trial| trial.valid().map(|found| found.wait_us.p99)),
];

const GRANTS: [Column; 5] = [
    ("requests a grant", 2, REQUESTS),
    ("commands a grant", 2, |trial| load(trial, |load| load.commands_per_grant)),
    ("smallest / largest share", 3, SMALLEST_SHARE),
    ("overtakes, % of grants", 1, |trial| {
        trial.valid().map(|found| found.overtakes as f64 / found.grants as f64 * 100.0)
    }),
    ("gave up", 0, |trial| trial.valid().map(|found| found.gave_up as f64)),
];

const TIMES: [Column; 9] = [
    ("wait p50, ms", 2, |trial| wait_ms(trial, |times| times.p50)),
    ("wait p99, ms", 2, WAIT_P99_MS),
    ("by client p99, ms", 2, WAIT_BY_CLIENT_P99_MS),
    ("longest wait, ms", 1, |trial| wait_ms(trial, |times| times.max)),
    ("hand-off p50, us", 1, HANDOFF_P50_US),
    ("hand-off p99, us", 1, HANDOFF_P99_US),
    ("others: GET p99, ms", 2, |trial| others(trial, |seen| seen.get_p99_ms)),
    ("SET p99, ms", 2, |trial| others(trial, |seen| seen.set_p99_ms)),
    ("longest PING, ms", 2, |trial| others(trial, |seen| seen.longest_ping_ms)),
];

/// The tables of every cell, and what is to be said about them.
pub fn fill(outcome: &Outcome, report: &mut Report) {
    for trial in &outcome.trials {
        if let Some(fault) = &trial.fault {
            let (Trial { language, peer, row, round, .. }, title) = (trial, trial.cell.title());
            report.remark(format!("Does not count: {language} {peer} ({row}), {title}, round {}: {fault}.", round + 1));
        }
    }
    for cell in outcome.scale.cells {
        let title = heading(&cell.title());
        if cell.is_contended() {
            report.table(table(&format!("{title}: grants"), "grants/s", &GRANTS, outcome, cell));
            report.table(table(&format!("{title}: times"), "grants/s", &TIMES, outcome, cell));
        } else {
            report.table(table(&title, "pairs/s", &UNCONTENDED, outcome, cell));
        }
    }
    report.note(&notes(outcome.rounds));
}

/// How many clients want one lock, and how long they hold it, in the table that says it all in short.
const SHORT: (usize, u64) = (100, 100);

/// The table that README shows too.
pub fn in_short(outcome: &Outcome, report: &mut Report) {
    let is_short = |cell: &&Cell| cell.is_contended() && (cell.clients, cell.section_us) == SHORT;
    let Some(cell) = outcome.scale.cells.iter().find(is_short) else { return };
    let columns = [
        "lock",
        "client in",
        "grants/s of redis-lock / its",
        "smallest / largest share",
        "its p99 wait / redis-lock's",
        "requests a grant",
    ];
    let mut table = Table::new(&format!("In short: {}", cell.title()), &columns);
    for row in outcome.best_rows(cell, GRANTS_PER_SECOND) {
        let number = |figure: Option<f64>, digits| {
            figure.map_or("-".into(), |figure| Entry::Number(Figure::one(figure), digits))
        };
        let median = |of| outcome.figure(row, cell, of).map(|figure| figure.median);
        let ratio = |of| outcome.ratio(row, cell, of).map(|figure| figure.median);
        let name = if row.about.row == "defaults" {
            row.about.peer.clone()
        } else {
            format!("{}, {}", row.about.peer, row.about.row)
        };
        table.row(vec![
            name.as_str().into(),
            row.language.as_str().into(),
            number(ratio(GRANTS_PER_SECOND), 2),
            number(median(SMALLEST_SHARE), 2),
            number(ratio(WAIT_BY_CLIENT_P99_MS).map(|ratio| 1.0 / ratio), 1),
            number(median(REQUESTS), 1),
        ]);
    }
    report.table(table);
    report.note("Medians; of each peer the row with most grants. The wait is that of a client picked by chance, each counting the same. All of it, and what the words mean, below.");
}

fn heading(title: &str) -> String {
    title[..1].to_uppercase() + &title[1..]
}

fn table(title: &str, rate: &str, columns: &[Column], outcome: &Outcome, cell: &Cell) -> Table {
    let mut names = vec!["language", "peer", "row", rate, "redis-lock / this"];
    names.extend(columns.iter().map(|(name, ..)| *name));
    let mut table = Table::new(title, &names);
    for row in &outcome.rows {
        let entry = |figure: Option<Figure>, digits| figure.map_or("-".into(), |figure| Entry::Number(figure, digits));
        let ratio = if row.is_redis_lock() { None } else { outcome.ratio(row, cell, GRANTS_PER_SECOND) };
        let mut entries: Vec<Entry> = words(row).into();
        entries.push(entry(outcome.figure(row, cell, GRANTS_PER_SECOND), 0));
        entries.push(entry(ratio, 2));
        entries.extend(columns.iter().map(|(_, digits, of)| entry(outcome.figure(row, cell, *of), *digits)));
        table.row(entries);
    }
    table
}

fn words(row: &Row) -> [Entry; 3] {
    [row.language.as_str(), &row.about.peer, &row.about.row].map(Entry::from)
}

/// What every side was told.
pub fn settings(outcome: &Outcome, report: &mut Report) {
    let mut table =
        Table::new("Settings", &["language", "peer", "row", "library", "client", "settings", "documentation"]);
    for row in &outcome.rows {
        let about = &row.about;
        let links: Vec<String> = about.links.iter().map(|link| format!("<{link}>")).collect();
        let library = format!("{} {}", about.library, about.version);
        let mut entries: Vec<Entry> = words(row).into();
        entries.extend(
            [library.as_str(), &about.client, &about.settings, &links.join(" ")]
                .map(|text| Entry::from(text.replace('|', "\\|").as_str())),
        );
        table.row(entries);
    }
    report.table(table);
}

fn notes(rounds: usize) -> String {
    format!(
        "Median (least - most) of {rounds} rounds. In each round every row runs once, one after the other, in an order that \
         moves on from round to round; *redis-lock / this* is taken within a round, beside redis-lock in the same language \
         with the same client library where there is one. All clients of a row are in one process. They take the lock, hold \
         it for the section, release it and ask again at once.\n\n\
         * *requests*: what clients sent to Redis. *commands*: what Redis ran for it, those inside scripts included. Both \
         from INFO commandstats over the whole life of the process, divided by all of its grants; connecting is not counted, nor \
         the one request of each wait in redis-lock's queue that was given up at the end.\n\
         * *shares*: the grants of the client that had fewest, divided by those of the one that had most.\n\
         * *overtakes*: grants to somebody while another one had been waiting for more than 5 ms longer.\n\
         * *gave up*: how often the library stopped waiting and was called again.\n\
         * *wait*: from the call of acquire to its return, of the waits that ended with a grant. Where one client gets one \
         grant after the other while all others starve, nearly all of these waits are its own and short. *by client*: each \
         client counts the same, however often it was served, and the wait it was in at the end is one of its waits: p99 \
         of a client picked by chance. *longest wait*: also of those who were still waiting at the end.\n\
         * *hand-off*: from the call of release to the next return of an acquire, whoever's it is, the same client's too.\n\
         * *others*: three connections to the same Redis that send PING, GET and SET at a steady pace meanwhile.\n\
         * set-nx-del is no lock (it deletes what others hold) and is left out of the bounds above; it shows what the \
         round trips alone cost. etcd replicates and writes to disk before it answers, and PostgreSQL ties a lock to a \
         connection: they promise other things, and are no part of the bounds either."
    )
}
