//! States over time as a small plot.

use crate::{Clip, Outcome, Point};
use plotters::prelude::*;
use std::path::Path;
use steropes_watch::State;

fn colour(state: State) -> RGBColor {
    match state {
        State::Unknown => RGBColor(170, 170, 170),
        State::Clear => RGBColor(120, 205, 150),
        State::Caution => RGBColor(250, 205, 105),
        State::Stop => RGBColor(235, 100, 100),
    }
}

/// The state as a band of colour, true distances (dots), measured ones (rings) and the stopping distance (line), metres over seconds.
pub(crate) fn draw(place: &Path, clip: &Clip, points: &[Point]) -> Outcome<()> {
    let end = points.last().map_or(1.0, |p| p.decided + 0.4);
    let root = SVGBackend::new(place, (560, 200)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(clip.title(), ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(22)
        .y_label_area_size(30)
        .build_cartesian_2d(0.0..end, 0.0..5.0)?;
    let until = |k: usize| points.get(k + 1).map_or(end, |next| next.decided);
    chart.draw_series(points.iter().enumerate().map(|(k, p)| {
        Rectangle::new([(p.decided, 0.0), (until(k), 5.0)], colour(p.decision.state).mix(0.6).filled())
    }))?;
    chart.configure_mesh().disable_mesh().x_labels(6).y_labels(6).draw()?;
    let taken = |p: &Point| p.decided - p.decision.age.unwrap_or(0.0);
    let truth = points.iter().filter_map(|p| Some((taken(p), p.nearest?)));
    chart.draw_series(truth.map(|at| Circle::new(at, 3, BLACK.filled())))?;
    let measured = points.iter().filter_map(|p| Some((taken(p), p.decision.zones.get(1)?.distance?)));
    chart.draw_series(measured.map(|at| Circle::new(at, 3, BLUE.stroke_width(2))))?;
    let needed = points.iter().filter_map(|p| Some((p.decided, p.decision.stopping_distance?)));
    chart.draw_series([PathElement::new(needed.collect::<Vec<_>>(), RED)])?;
    root.present()?;
    Ok(())
}
