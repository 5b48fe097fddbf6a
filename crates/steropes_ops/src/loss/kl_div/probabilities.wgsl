// Targets are probabilities; one of 0 has no loss and no gradient.
fn pair_loss(input: f32, goal: f32) -> f32 {
    if (goal == 0.0) {
        return 0.0;
    }
    return goal * (log(goal) - input);
}
fn pair_slopes(input: f32, goal: f32) -> vec2<f32> {
    if (goal == 0.0) {
        return vec2<f32>();
    }
    return vec2<f32>(-goal, log(goal) - input + 1.0);
}
