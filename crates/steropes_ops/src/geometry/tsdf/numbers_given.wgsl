@group(0) @binding(7) var<storage, read> numbers: array<f32>;

// Of pixel `i` of the launch.
fn number(i: u32, sample: u32) -> f32 {
    return numbers[params.numbers_shift + i * params.samples + sample];
}

