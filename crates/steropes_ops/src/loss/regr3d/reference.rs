//! f64 oracle, from the formulas; its gradient is that of differences.

use super::{PointNorm, Regr3dOptions};

/// One view of one item: predicted and true points, and masks.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) prediction: Vec<f64>,
    pub(crate) truth: Vec<f64>,
    pub(crate) valid: Vec<u8>,
    pub(crate) sky: Vec<u8>,
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn norm(views: &[View; 2], side: impl Fn(&View) -> &[f64], kind: PointNorm) -> f64 {
    let (mut sum, mut count) = (0.0, 1e-8);
    for view in views {
        for (x, valid) in side(view).chunks_exact(3).zip(&view.valid) {
            if *valid != 0 {
                sum += if kind == PointNorm::AvgLog1p { length(x).ln_1p() } else { length(x) };
                count += 1.0;
            }
        }
    }
    (sum / count).max(1e-8)
}

fn warped(x: &[f64], scale: f64, log: bool) -> Vec<f64> {
    let x: Vec<f64> = x.iter().map(|v| v / scale).collect();
    let distance = length(&x);
    if !log || distance == 0.0 {
        return x;
    }
    x.iter().map(|v| v / distance * distance.ln_1p()).collect()
}

/// The losses of both views of an item.
pub(crate) fn losses(views: &[View; 2], metric: bool, options: &Regr3dOptions) -> [Vec<f64>; 2] {
    let (mut scale, mut true_scale) = (1.0, 1.0);
    if options.norm != PointNorm::None {
        true_scale = norm(views, |view| &view.truth, options.norm);
        scale = if metric { true_scale } else { norm(views, |view| &view.prediction, options.norm) };
        if options.truth_as_it_is {
            true_scale = 1.0;
        }
    }
    views.each_ref().map(|view| {
        let pairs = view.prediction.chunks_exact(3).zip(view.truth.chunks_exact(3));
        let loss = |(i, (x, y)): (usize, (&[f64], &[f64]))| {
            if view.valid[i] != 0 {
                let (x, y) = (warped(x, scale, options.log), warped(y, true_scale, options.log));
                length(&[x[0] - y[0], x[1] - y[1], x[2] - y[2]])
            } else if view.sky[i] != 0 {
                f64::from(options.sky_loss)
            } else {
                0.0
            }
        };
        pairs.enumerate().map(loss).collect()
    })
}
