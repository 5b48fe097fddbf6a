// One map, or some rows of it: the rows of the matrix that takes a point to its homogeneous pixel; width, height, first pixel in the
// arrays and first row in the map.
struct View { u: vec4<f32>, v: vec4<f32>, z: vec4<f32>, size: vec4<u32> }

@group(0) @binding(0) var<storage, read> views: array<View>;
@group(0) @binding(1) var<storage, read> depth: array<f32>;
@group(0) @binding(2) var<storage, read> confidence: array<f32>;

// An average of distances with weights e^confidence, relative to the largest confidence so far.
struct Average { largest: f32, weighted: f32, weights: f32 }

// By bits, because fast mathematics may take comparisons with NaN for true.
fn is_positive(x: f32) -> bool {
    return bitcast<u32>(x) - 1u < 0x7f7fffffu;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Adds what a map says about a point with this homogeneous pixel.
fn add_distance(average: ptr<function, Average>, size: vec4<u32>, point: vec3<f32>, threshold: f32) {
    let z = point.z;
    if ((bitcast<u32>(z) << 1u) == 0u || !is_finite(z)) {
        return;
    }
    let pixel = round(point.xy / z) - vec2<f32>(0.0, f32(size.w));
    let last = vec2<f32>(size.xy - 1u);
    if (!(pixel.x >= 0.0 && pixel.y >= 0.0 && pixel.x <= last.x && pixel.y <= last.y)) {
        return;
    }
    // Inside whatever the comparisons made of NaN.
    let place = min(vec2<u32>(clamp(pixel, vec2<f32>(0.0), last)), size.xy - 1u);
    let at = size.z + place.y * size.x + place.x;
    let surface = depth[at];
    let sure = confidence[at];
    let distance = surface - z;
    if (is_positive(surface) && is_finite(sure) && distance >= -threshold) {
        let old = *average;
        let difference = sure - old.largest;
        if (old.weights == 0.0) {
            *average = Average(sure, distance, 1.0);
        } else if (difference <= 0.0) {
            let weight = exp(difference);
            *average = Average(old.largest, old.weighted + weight * distance, old.weights + weight);
        } else {
            let scale = exp(-difference);
            *average = Average(sure, old.weighted * scale + distance, old.weights * scale + 1.0);
        }
    }
}

