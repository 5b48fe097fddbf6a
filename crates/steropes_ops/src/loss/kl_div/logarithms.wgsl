// Targets are logarithms of probabilities; a probability of 0 has no loss and no gradient.
fn pair_loss(input: f32, goal: f32) -> f32 {
    let probability = exp(goal);
    if (probability == 0.0) {
        return 0.0;
    }
    return probability * (goal - input);
}
fn pair_slopes(input: f32, goal: f32) -> vec2<f32> {
    let probability = exp(goal);
    if (probability == 0.0) {
        return vec2<f32>();
    }
    return vec2<f32>(-probability, probability * (goal - input + 1.0));
}
