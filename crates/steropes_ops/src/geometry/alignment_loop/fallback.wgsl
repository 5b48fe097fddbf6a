// One workgroup per unit: the owner's points in the frame's camera, drawn to where the frame's network output puts their anchors.
//
// Sums: loss, derivatives by the relative centre (3) and rotation (9), three zeros, relief of the owner.
// Header: SUMS, PITCH, PARTS, THREADS, PER_THREAD; view.wgsl, unit.wgsl, segments.wgsl.

struct Params { units: u32, share: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> units: array<vec4<u32>>;
// x, y, depth relative to the anchor, anchor.
@group(0) @binding(1) var<storage, read> own: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
// Point and weight, at the anchor plus the unit's `extra`, which wraps around.
@group(0) @binding(3) var<storage, read> drawn_to: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> views: array<f32>;
@group(0) @binding(5) var<storage, read> depths: array<f32>;
@group(0) @binding(6) var<storage, read_write> segments: array<f32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

fn segment_start(index: u32) -> u32 {
    return starts[index];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.units;
    let unit = unit_at(min(index, params.units - 1u));
    let pose = relative(unit);
    let principal = vec2<f32>(of_view(unit.owner, PRINCIPAL), of_view(unit.owner, PRINCIPAL + 1u));
    let inverse_focal = 1.0 / of_view(unit.owner, FOCAL);
    let relief = of_view(unit.owner, RELIEF);
    let scale = of_view(unit.owner, SCALE);
    let zero = scale * of_view(unit.owner, ZERO);
    let median = scale * of_view(unit.owner, MEDIAN);
    var loss = 0.0;
    var by_center = vec3<f32>();
    var by_x = vec3<f32>();
    var by_y = vec3<f32>();
    var by_z = vec3<f32>();
    var by_relief = 0.0;
    for (var j = 0u; j < PER_THREAD; j++) {
        let i = thread + j * THREADS;
        if (i < unit.count) {
            let o = own[unit.first + i];
            let goal = drawn_to[o.w + unit.extra];
            let depth = zero + median * depths[o.w];
            let rise = bitcast<f32>(o.z) - 1.0;
            let factor = 1.0 + rise * relief;
            let ray = vec3<f32>((bitcast<vec2<f32>>(o.xy) - principal) * inverse_focal, 1.0);
            let turned = pose.rotation * ray;
            let point = (depth * factor) * ray;
            let v = pose.rotation * point + (pose.center - goal.xyz);
            let length = sqrt(dot(v, v));
            // rho = (length + SHIFT)^1.1 - SHIFT^1.1
            let slope = 1.1 * pow(length + SHIFT, 0.1);
            loss += goal.w * ((length + SHIFT) * slope / 1.1 - SHIFT_POWER);
            let g = (goal.w * slope / max(length, 1e-18)) * v;
            let by_depth = dot(g, turned);
            by_center += g;
            by_x += g.x * point;
            by_y += g.y * point;
            by_z += g.z * point;
            by_relief += by_depth * depth * rise;
            scratch[i] = by_depth * factor;
        }
    }
    write_segments(thread, unit, inside);
    put(0u, thread, loss);
    put3(1u, thread, by_center);
    put3(4u, thread, by_x);
    put3(7u, thread, by_y);
    put3(10u, thread, by_z);
    put3(13u, thread, vec3<f32>());
    put(16u, thread, by_relief);
    write_sums(thread, unit.row, inside);
}
