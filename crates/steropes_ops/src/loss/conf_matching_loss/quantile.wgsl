// One invocation: the quantile between the losses on both sides of its place.

struct Params { quantile: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> sides: array<f32>;
@group(0) @binding(1) var<storage, read> matches: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(1)
fn main() {
    let place = params.quantile * max(matches[0] - 1.0, 0.0);
    result[0] = sides[0] + (sides[1] - sides[0]) * (place - floor(place));
}
