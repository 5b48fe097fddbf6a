// An invocation for each row, which counts the matches below its own loss, or as large and before it. The one whose count is the place
// of the quantile, rounded down or up, writes its loss.
//
// Header: valid_at.

struct Params { count: u32, quantile: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> valid: array<u32>;
@group(0) @binding(2) var<storage, read> matches: array<f32>;
@group(0) @binding(3) var<storage, read_write> sides: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 64u + thread;
    if (at >= params.count) {
        return;
    }
    if (!valid_at(at)) {
        return;
    }
    let own = loss[at];
    var rank = 0u;
    for (var i = 0u; i < params.count; i++) {
        let other = loss[i];
        if (valid_at(i) && (other < own || (other == own && i < at))) {
            rank += 1u;
        }
    }
    let place = params.quantile * (matches[0] - 1.0);
    if (rank == u32(floor(place))) {
        sides[0] = own;
    }
    if (rank == u32(ceil(place))) {
        sides[1] = own;
    }
}
