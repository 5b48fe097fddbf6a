// One invocation per edge: adds up the sums of its units and turns derivatives by the relative pose into such by both cameras.
//
// `by_edges` holds EDGE numbers per edge: derivatives by the owner's camera, by the frame's camera, loss. Those by a camera are
// BY_VIEW numbers: rotation by rows (9), centre (3), focal length, principal point (2), relief, scale.
// Header: SUMS, EDGE, BY_VIEW; view.wgsl.

struct Params { edges: u32, coarse: u32 }
var<immediate> params: Params;
// Owner, frame, first row of sums, number of rows.
@group(0) @binding(0) var<storage, read> edges: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> views: array<f32>;
@group(0) @binding(3) var<storage, read_write> by_edges: array<f32>;

fn write_pose(at: u32, rotation: mat3x3<f32>, center: vec3<f32>) {
    for (var r = 0u; r < 3u; r++) {
        for (var c = 0u; c < 3u; c++) {
            by_edges[at + 3u * r + c] = rotation[c][r];
        }
        by_edges[at + 9u + r] = center[r];
    }
}

fn write_rest(at: u32, focal: f32, principal: vec2<f32>, relief: f32, scale: f32) {
    by_edges[at + FOCAL] = focal;
    by_edges[at + PRINCIPAL] = principal.x;
    by_edges[at + PRINCIPAL + 1u] = principal.y;
    by_edges[at + RELIEF] = relief;
    by_edges[at + SCALE] = scale;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = (group.x + group.y * 32768u) * 64u + thread;
    if (index >= params.edges) {
        return;
    }
    let edge = edges[index];
    let owner = edge.x;
    let frame = edge.y;
    var s: array<f32, SUMS>;
    for (var row = 0u; row < edge.w; row++) {
        for (var v = 0u; v < SUMS; v++) {
            s[v] += sums[(edge.z + row) * SUMS + v];
        }
    }
    let own = rotation_of(owner);
    let seen = rotation_of(frame);
    let relative = transpose(seen) * own;
    let by_center = vec3<f32>(s[1], s[2], s[3]);
    var by_rotation = transpose(mat3x3<f32>(s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12]));
    let at = index * EDGE;
    // Edges below params.coarse are of the coarse stage: the rotation came times the owner's scale.
    if (index < params.coarse) {
        let by_scale = dot(by_rotation[0], relative[0]) + dot(by_rotation[1], relative[1])
            + dot(by_rotation[2], relative[2]);
        by_rotation = of_view(owner, SCALE) * by_rotation;
        write_rest(at, 0.0, vec2<f32>(), 0.0, by_scale);
        write_rest(at + BY_VIEW, 0.0, vec2<f32>(), 0.0, s[13]);
    } else {
        // In the owner's camera: sum over points of (derivative by the point) pointᵀ.
        let rays = transpose(relative) * by_rotation;
        let focal = of_view(owner, FOCAL);
        write_rest(at, -(rays[0].x + rays[1].y) / focal, -rays[2].xy / focal, s[16], 0.0);
        write_rest(at + BY_VIEW, s[13] / of_view(frame, FOCAL), vec2<f32>(s[14], s[15]), 0.0, 0.0);
    }
    let offset = center_of(owner) - center_of(frame);
    let center = seen * by_center;
    let outer = mat3x3<f32>(offset * by_center.x, offset * by_center.y, offset * by_center.z);
    write_pose(at, seen * by_rotation, center);
    write_pose(at + BY_VIEW, own * transpose(by_rotation) + outer, -center);
    by_edges[at + 2u * BY_VIEW] = s[0];
}
