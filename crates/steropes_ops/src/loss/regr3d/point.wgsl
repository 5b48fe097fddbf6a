struct Params { items: u32, points: u32, sky_loss: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> prediction: array<Elem>;
@group(0) @binding(1) var<storage, read> truth: array<f32>;
@group(0) @binding(2) var<storage, read> valid: array<u32>;

// `log(1 + x)` for x from 0 on, also for small ones: what rounding took off 1 + x is made up for.
fn log_1p(x: f32) -> f32 {
    if (x < 0.01) {
        return x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)));
    }
    return log(1.0 + x);
}
// What a distance adds to the norm, and its derivative.
fn measure(distance: f32) -> vec2<f32> {
    if (LOG_NORM) {
        return vec2<f32>(log_1p(distance), 1.0 / (1.0 + distance));
    }
    return vec2<f32>(distance, 1.0);
}
fn predicted(at: u32) -> vec3<f32> {
    return vec3<f32>(f32(prediction[3u * at]), f32(prediction[3u * at + 1u]), f32(prediction[3u * at + 2u]));
}
fn true_point(at: u32) -> vec3<f32> {
    return vec3<f32>(truth[3u * at], truth[3u * at + 1u], truth[3u * at + 2u]);
}
// A point drawn in to log(1 + distance), if that is asked for.
fn warped(x: vec3<f32>) -> vec3<f32> {
    let distance = length(x);
    if (!LOG || distance == 0.0) {
        return x;
    }
    return x * (log_1p(distance) / distance);
}
// The difference of a point to its true place.
fn step_of(at: u32, scale: vec4<f32>) -> vec3<f32> {
    return warped(predicted(at) / scale.x) - warped(true_point(at) / scale.y);
}
// The derivative of `weight` times the distance for the divided prediction.
fn pull_of(at: u32, scale: vec4<f32>, weight: f32) -> vec3<f32> {
    let own = step_of(at, scale);
    let distance = length(own);
    if (distance == 0.0) {
        return vec3<f32>();
    }
    let pull = own * (weight / distance);
    let x = predicted(at) / scale.x;
    let far = length(x);
    if (!LOG || far == 0.0) {
        return pull;
    }
    // Along the ray the derivative is that of the logarithm, across it the ratio of lengths.
    let across = log_1p(far) / far;
    let ray = x / far;
    return across * pull + dot(pull, ray) * (1.0 / (1.0 + far) - across) * ray;
}
