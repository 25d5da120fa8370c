//! Single steps as a table, `table.txt`: every request in every kind of state. [`super::words`] explains the notation.

use std::collections::BTreeSet;

use super::words::{lock, run};

/// The table.
const TABLE: &str = include_str!("table.txt");

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

/// Reads the table. A line is a comment (`#`), a state, or a row for one or more requests in the state above it. `=`
/// stands for the state before the request.
fn rows() -> Vec<Row> {
    let (mut state, mut rows) = ("", Vec::new());
    for line in TABLE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
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
fn every_request_does_in_every_state_what_the_table_says() {
    let wrong: Vec<String> = rows()
        .iter()
        .filter_map(|row| {
            let mut found = lock(row.state);
            let (returned, effects) = run(&mut found, row.request);
            let as_expected = (&*returned, &*effects) == (row.returned, row.effects) && found == lock(row.after);
            let Row { state, request, .. } = row;
            let expected = format!("{} | {} | {}", row.returned, row.effects, row.after);
            (!as_expected)
                .then(|| format!("{state}\n  {request} | {expected}\nbut: {returned} | {effects} | {found:?}\n"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_has_a_row_for_every_pair_of_state_and_request() {
    let rows = rows();
    let states: BTreeSet<_> = rows.iter().map(|row| row.state).collect();
    let requests: BTreeSet<_> = rows.iter().map(|row| row.request).collect();
    let pairs: BTreeSet<_> = rows.iter().map(|row| (row.state, row.request)).collect();
    assert_eq!(pairs.len(), rows.len(), "a pair of state and request has two rows");
    let missing: Vec<_> =
        states.iter().flat_map(|state| requests.iter().map(move |request| (*state, *request))).collect();
    let missing: Vec<_> = missing.iter().filter(|pair| !pairs.contains(*pair)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert!(states.len() >= 50 && requests.len() >= 30, "{} states, {} requests", states.len(), requests.len());
}
