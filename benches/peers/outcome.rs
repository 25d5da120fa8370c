//! The trials of all rounds, and how one row stands to another in them.

use crate::bench::report::Cell as Figure;
use crate::cells::{Cell, Scale};
use crate::trial::Trial;
use crate::workers::Row;

/// All that was measured.
pub struct Outcome {
    pub scale: &'static Scale,
    pub rounds: usize,
    pub rows: Vec<Row>,
    pub trials: Vec<Trial>,
}

/// A figure of a trial; not every trial has each.
pub type Of = fn(&Trial) -> Option<f64>;

impl Outcome {
    fn trial(&self, row: &Row, cell: &Cell, round: usize) -> Option<&Trial> {
        self.trials.iter().find(|trial| {
            (trial.round, trial.cell) == (round, *cell)
                && (&trial.language, &trial.peer, &trial.row) == (&row.language, &row.about.peer, &row.about.row)
        })
    }

    /// A figure in a round, if it counts. A breach of exclusion in any round voids the row in that cell: what is fast
    /// because it does not lock is not compared.
    fn in_round(&self, row: &Row, cell: &Cell, round: usize, of: Of) -> Option<f64> {
        let breaches = |round| {
            self.trial(row, cell, round)
                .and_then(|trial| trial.found.as_ref())
                .is_some_and(|found| found.violations > 0)
        };
        if (0..self.rounds).any(breaches) {
            return None;
        }
        let trial = self.trial(row, cell, round)?;
        trial.valid()?;
        of(trial)
    }

    /// A figure over the rounds.
    pub fn figure(&self, row: &Row, cell: &Cell, of: Of) -> Option<Figure> {
        let numbers: Vec<f64> = (0..self.rounds).filter_map(|round| self.in_round(row, cell, round, of)).collect();
        (!numbers.is_empty()).then(|| Figure::of(numbers))
    }

    /// What redis-lock has of it, in the same language and the same round, divided by what the row has.
    pub fn ratio(&self, row: &Row, cell: &Cell, of: Of) -> Option<Figure> {
        let ours = self.redis_lock(&row.language)?;
        let ratio = |round| Some(self.in_round(ours, cell, round, of)? / self.in_round(row, cell, round, of)?);
        let ratios: Vec<f64> = (0..self.rounds).filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| Figure::of(ratios))
    }

    /// Of each peer the row that has most of it in this cell.
    pub fn best_rows(&self, cell: &Cell, of: Of) -> Vec<&Row> {
        let median = |row: &Row| self.figure(row, cell, of).map_or(0.0, |figure| figure.median);
        let is_best = |row: &&Row| {
            let same = self.rows.iter().filter(|other| other.is_same_peer(row));
            // The first of equals.
            let best = same.reduce(|best, other| if median(other) > median(best) { other } else { best });
            best.is_some_and(|best| best.about.row == row.about.row)
        };
        self.rows.iter().filter(is_best).collect()
    }

    pub fn redis_lock(&self, language: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.language == language && row.is_redis_lock())
    }
}
