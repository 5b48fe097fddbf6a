@group(0) @binding(4) var<storage, read> numbers: array<f32>;

fn number(pixel: u32, sample: u32, samples: u32, seed: u32) -> f32 {
    return numbers[pixel * samples + sample];
}

