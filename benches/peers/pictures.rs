//! The plots of the report: bars, one group a row.

use plotters::prelude::*;

use crate::bench::report::Report;
use crate::cells::Cell;
use crate::outcome::{Of, Outcome};
use crate::tables::{GRANTS_PER_SECOND, HANDOFF_P50_US, HANDOFF_P99_US, SMALLEST_SHARE};

/// Of the lock that is neither held too shortly to matter nor so long that nothing else does.
const SECTION_US: u64 = 100;

const COLOURS: [RGBColor; 2] = [RGBColor(55, 110, 180), RGBColor(235, 140, 50)];
const WIDTH: u32 = 900;
/// What a group of bars takes, and what is above and below all of them, in pixels.
const GROUP: u32 = 30;
const FRAME: u32 = 110;
/// Where the names end and the bars begin.
const NAMES: i32 = 300;

/// One colour of bars: what it is called, and the number of each row.
struct Series {
    name: String,
    numbers: Vec<Option<f64>>,
}

/// Whether tenfold or as much again is one step.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Linear,
    Logarithmic,
}

/// Draws those for which there are figures.
pub fn draw(outcome: &Outcome, report: &mut Report) {
    let contended = |cell: &&Cell| cell.is_contended() && cell.section_us == SECTION_US;
    let cells: Vec<&Cell> = outcome.scale.cells.iter().filter(contended).collect();
    let Some(most) = cells.iter().max_by_key(|cell| cell.clients) else { return };
    let series = |name: String, cell: &Cell, of: Of| Series {
        name,
        numbers: outcome.rows.iter().map(|row| outcome.figure(row, cell, of).map(|figure| figure.median)).collect(),
    };
    let by_clients = |of: Of| cells.iter().map(|cell| series(format!("{} clients", cell.clients), cell, of)).collect();
    let handoff = vec![series("p50".into(), most, HANDOFF_P50_US), series("p99".into(), most, HANDOFF_P99_US)];
    let section = format!("section {SECTION_US} us");
    let pictures: [(&str, String, Axis, Vec<Series>); 3] = [
        ("handoff", format!("Hand-off, us, {} clients, {section}", most.clients), Axis::Logarithmic, handoff),
        ("grants", format!("Grants/s, {section}"), Axis::Linear, by_clients(GRANTS_PER_SECOND)),
        ("fairness", format!("Smallest / largest share, {section}"), Axis::Linear, by_clients(SMALLEST_SHARE)),
    ];
    let names: Vec<String> = outcome.rows.iter().map(|row| row.name()).collect();
    for (file, title, axis, series) in pictures {
        if series.iter().any(|series| series.numbers.iter().any(Option::is_some)) {
            report.picture(file, &title, bars(&title, &names, axis, &series));
        }
    }
}

/// A picture in SVG.
fn bars(title: &str, names: &[String], axis: Axis, series: &[Series]) -> String {
    let height = FRAME + GROUP * names.len() as u32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let numbers = series.iter().flat_map(|series| series.numbers.iter().flatten().copied());
        let largest = numbers.clone().fold(f64::MIN_POSITIVE, f64::max);
        let smallest = numbers.filter(|number| *number > 0.0).fold(largest, f64::min);
        let mut builder = ChartBuilder::on(&area);
        builder.caption(title, ("sans-serif", 20)).margin(10).margin_left(NAMES).x_label_area_size(35);
        let groups = 0.0..names.len() as f64;
        match axis {
            Axis::Linear => {
                let mut chart = builder.build_cartesian_2d(0.0..largest * 1.15, groups).unwrap();
                chart.configure_mesh().disable_y_mesh().disable_y_axis().x_labels(6).draw().unwrap();
                chart.draw_series(shapes(names.len(), series, 0.0)).unwrap();
                chart.draw_series(labels(names.len(), series, 0.0)).unwrap();
            }
            Axis::Logarithmic => {
                let least = 10_f64.powf(smallest.log10().floor());
                let mut chart = builder.build_cartesian_2d((least..largest * 3.0).log_scale(), groups).unwrap();
                chart.configure_mesh().disable_y_mesh().disable_y_axis().draw().unwrap();
                chart.draw_series(shapes(names.len(), series, least)).unwrap();
                chart.draw_series(labels(names.len(), series, least)).unwrap();
            }
        }
        // The caption and the axis take their part of the height; the rest is shared by the groups.
        let (top, bottom) = (10.0 + 30.0, f64::from(height) - 10.0 - 35.0);
        for (place, name) in names.iter().enumerate() {
            let y = top + (bottom - top) * (place as f64 + 0.5) / names.len() as f64;
            let style = ("sans-serif", 13).into_font().into_text_style(&area);
            area.draw_text(name, &style, (10, y as i32 - 7)).unwrap();
        }
        for (place, Series { name, .. }) in series.iter().enumerate() {
            let x = WIDTH as i32 - 120;
            let y = 8 + 16 * place as i32;
            area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], COLOURS[place % 2].filled())).unwrap();
            area.draw_text(name, &("sans-serif", 13).into_font().into_text_style(&area), (x + 18, y)).unwrap();
        }
        area.present().unwrap();
    }
    svg
}

/// Where a bar lies: from below to above, the first row on top.
fn span(rows: usize, row: usize, series: usize, of: usize) -> (f64, f64) {
    let top = (rows - row) as f64 - 0.12 - 0.76 * series as f64 / of as f64;
    (top - 0.76 / of as f64, top)
}

fn each(series: &[Series]) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
    series.iter().enumerate().flat_map(|(place, series)| {
        series.numbers.iter().enumerate().filter_map(move |(row, number)| number.map(|number| (place, row, number)))
    })
}

fn shapes(rows: usize, series: &[Series], from: f64) -> Vec<Rectangle<(f64, f64)>> {
    let bar = |(place, row, number): (usize, usize, f64)| {
        let (low, high) = span(rows, row, place, series.len());
        Rectangle::new([(from, low), (number.max(from), high)], COLOURS[place % 2].filled())
    };
    each(series).map(bar).collect()
}

fn labels(rows: usize, series: &[Series], from: f64) -> Vec<Text<'static, (f64, f64), String>> {
    let label = |(place, row, number): (usize, usize, f64)| {
        let (_, high) = span(rows, row, place, series.len());
        let digits = if number < 10.0 { 2 } else { 0 };
        Text::new(format!(" {number:.digits$}"), (number.max(from), high), ("sans-serif", 11).into_font())
    };
    each(series).map(label).collect()
}
