// One workgroup per unit: the owner's points in the frame's camera, drawn to where the frame's network output puts their anchors.
//
// Sums: loss, derivatives by the relative centre (3) and rotation (9), three zeros, relief of the owner.
// Header: SUMS, PITCH, PARTS, THREADS, PER_THREAD; view.wgsl, unit.wgsl, segments.wgsl.

@group(0) @binding(6) var<storage, read> starts: array<u32>;
// Point and weight, at the anchor plus the unit's `extra`, which wraps around.
@group(0) @binding(7) var<storage, read> drawn_to: array<vec4<f32>>;

fn segment_start(index: u32) -> u32 {
    return starts[index];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = unit_index(group);
    let inside = index < params.units;
    let unit = unit_at(index);
    let pose = relative(unit);
    let lens = lens_of(unit.owner, of_view(unit.owner, SCALE));
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
            let depth = lens.zero + lens.median * depths[o.w];
            let rise = bitcast<f32>(o.z) - 1.0;
            let factor = 1.0 + rise * lens.relief;
            let along_ray = ray(lens, bitcast<vec2<f32>>(o.xy));
            let turned = pose.rotation * along_ray;
            let point = (depth * factor) * along_ray;
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
    put_pose(thread, loss, by_center, by_x, by_y, by_z);
    put3(13u, thread, vec3<f32>());
    put(16u, thread, by_relief);
    write_sums(thread, unit.row, inside);
}
