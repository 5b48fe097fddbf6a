//! The formulas of one pair; `pointwise` shares pairs among threads.

pub(super) fn loss(input: f32, target: f32) -> f32 {
    if target == 0.0 { 0.0 } else { target * (target.ln() - input) }
}

pub(super) fn slopes(input: f32, target: f32) -> [f32; 2] {
    if target == 0.0 { [0.0; 2] } else { [-target, target.ln() - input + 1.0] }
}

pub(super) fn log_loss(input: f32, target: f32) -> f32 {
    let probability = target.exp();
    if probability == 0.0 { 0.0 } else { probability * (target - input) }
}

pub(super) fn log_slopes(input: f32, target: f32) -> [f32; 2] {
    let probability = target.exp();
    if probability == 0.0 { [0.0; 2] } else { [-probability, probability * (target - input + 1.0)] }
}
