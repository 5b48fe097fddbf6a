// The formulas of cpu.rs. `log(1 + e)` needs no care here: what it is added to is 0.03 at least.
const LOWEST: f32 = -200.0;
const SMALL: f32 = 0.25;
const LN_2: f32 = 0.6931472;

fn excess(signed: f32) -> f32 {
    let y = abs(signed);
    let square = y * y;
    if (y < SMALL) {
        let series = square * (-17.0 / 360.0 + square * (31.0 / 1575.0));
        return square * (0.5 + square * (-0.25 + square * (1.0 / 9.0 + series)));
    }
    let e = exp(-2.0 * y);
    return LN_2 - log(1.0 + e) - 2.0 * y * e / (1.0 + e);
}
fn log_cosh(signed: f32) -> f32 {
    let y = abs(signed);
    let square = y * y;
    if (y < SMALL) {
        let series = square * (1.0 / 45.0 + square * (-17.0 / 2520.0));
        return square * (0.5 + square * (-1.0 / 12.0 + series));
    }
    return y + log(1.0 + exp(-2.0 * y)) - LN_2;
}
fn pair_loss(a: f32, b: f32) -> f32 {
    let log_p = max(a, LOWEST);
    let log_q = max(b, LOWEST);
    return 0.5 * (exp(log_p) + exp(log_q)) * excess(0.5 * (log_p - log_q));
}
fn pair_slopes(a: f32, b: f32) -> vec2<f32> {
    let log_p = max(a, LOWEST);
    let log_q = max(b, LOWEST);
    let y = 0.5 * (log_p - log_q);
    let center = log_cosh(y);
    return vec2<f32>(0.5 * exp(log_p) * (y - center), 0.5 * exp(log_q) * (-y - center));
}
