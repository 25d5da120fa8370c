//! Single steps as tables: every request in every kind of state (`table.txt`), and the same for the options that few requests
//! have (`options.txt`) and for requests for several locks (`multi_key.txt`). [`super::words`] explains the notation.

use std::collections::BTreeSet;

use super::words::{lock, run};

/// The table of the requests without WEIGHT, MAX, DELAY and COOL.
const TABLE: &str = include_str!("table.txt");
/// The table of these options.
const OPTIONS: &str = include_str!("options.txt");
/// The table of the requests for several locks.
const MULTI_KEY: &str = include_str!("multi_key.txt");

/// One row: what a request does in a state. Everything is written as in [`super::words`].
struct Row {
    /// The state before the request.
    state: &'static str,
    request: &'static str,
    /// The reply to the request.
    returned: &'static str,
    effects: &'static str,
    /// The state after the request.
    after: &'static str,
}

/// Reads a table. A line is a comment (`#`), a state, or a row for one or more requests in the state above it. `=`
/// stands for the state before the request.
fn rows(table: &'static str) -> Vec<Row> {
    let (mut state, mut rows) = ("", Vec::new());
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
            [head] => state = head,
            [requests, returned, effects, after] => {
                let after = if after == "=" { state } else { after };
                let requests = requests.split(';').map(str::trim);
                rows.extend(requests.map(|request| Row { state, request, returned, effects, after }));
            }
            _ => panic!("not a row: {line}"),
        }
    }
    rows
}

#[test]
fn every_request_does_in_every_state_what_the_tables_say() {
    let wrong: Vec<String> = [TABLE, OPTIONS, MULTI_KEY]
        .into_iter()
        .flat_map(rows)
        .filter_map(|row| {
            let mut found = lock(row.state);
            let (returned, effects) = run(&mut found, row.request);
            let as_expected = (&*returned, &*effects) == (row.returned, row.effects) && found == lock(row.after);
            let Row { state, request, .. } = &row;
            let expected = format!("{} | {} | {}", row.returned, row.effects, row.after);
            (!as_expected)
                .then(|| format!("{state}\n  {request} | {expected}\nbut: {returned} | {effects} | {found:?}\n"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_table_has_a_row_for_every_pair_of_state_and_request() {
    for (table, states_min, requests_min) in [(TABLE, 50, 30), (OPTIONS, 12, 12), (MULTI_KEY, 16, 12)] {
        let rows = rows(table);
        let states: BTreeSet<_> = rows.iter().map(|row| row.state).collect();
        let requests: BTreeSet<_> = rows.iter().map(|row| row.request).collect();
        let pairs: BTreeSet<_> = rows.iter().map(|row| (row.state, row.request)).collect();
        assert_eq!(pairs.len(), rows.len(), "a pair of state and request has two rows");
        let all = states.iter().flat_map(|state| requests.iter().map(move |request| (*state, *request)));
        let missing: Vec<_> = all.filter(|pair| !pairs.contains(pair)).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let (states, requests) = (states.len(), requests.len());
        assert!(states >= states_min && requests >= requests_min, "{states} states, {requests} requests");
    }
}
