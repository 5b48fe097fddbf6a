// One workgroup per unit: distances of the world points of both ends, in the camera frame of the second image.
//
// Sums: loss, derivatives by the relative centre (3) and by the relative rotation times scale (9), by the frame's scale.
// Header: SUMS, PITCH, PARTS, THREADS, PER_THREAD; view.wgsl, unit.wgsl.

// x, y, weight of the other end; its depth relative to the anchor and anchor in `other`.
@group(0) @binding(5) var<storage, read> seen: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> other: array<vec2<u32>>;

fn point(lens: Lens, x: vec2<f32>, offset: f32, anchor: u32) -> vec3<f32> {
    let depth = lens.zero + lens.median * depths[anchor];
    let z = depth * (1.0 + (offset - 1.0) * lens.relief);
    return z * ray(lens, x);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = unit_index(group);
    let inside = index < params.units;
    let unit = unit_at(index);
    let pose = relative(unit);
    let lens_own = lens_of(unit.owner, 1.0);
    let lens_seen = lens_of(unit.frame, 1.0);
    let matrix = of_view(unit.owner, SCALE) * pose.rotation;
    let scale = of_view(unit.frame, SCALE);
    var loss = 0.0;
    var by_center = vec3<f32>();
    var by_x = vec3<f32>();
    var by_y = vec3<f32>();
    var by_z = vec3<f32>();
    var by_scale = 0.0;
    for (var j = 0u; j < PER_THREAD; j++) {
        let i = thread + j * THREADS;
        if (i < unit.count) {
            let o = own[unit.first + i];
            let s = seen[unit.first + i];
            let f = other[unit.first + i];
            let p = point(lens_own, bitcast<vec2<f32>>(o.xy), bitcast<f32>(o.z), o.w);
            let q = point(lens_seen, bitcast<vec2<f32>>(s.xy), bitcast<f32>(f.x), f.y);
            let v = matrix * p + (pose.center - scale * q);
            let length = sqrt(dot(v, v));
            let root = sqrt(length + 4.0 / 9.0);
            let weight = bitcast<f32>(s.z);
            // rho = root^3 - (4/9)^1.5, written so that small lengths are kept.
            loss += weight * length * (root * (root + 2.0 / 3.0) + 4.0 / 9.0) / (root + 2.0 / 3.0);
            let g = (1.5 * weight * root / max(length, 1e-18)) * v;
            by_center += g;
            by_x += g.x * p;
            by_y += g.y * p;
            by_z += g.z * p;
            by_scale -= dot(g, q);
        }
    }
    put_pose(thread, loss, by_center, by_x, by_y, by_z);
    put(13u, thread, by_scale);
    put3(14u, thread, vec3<f32>());
    write_sums(thread, unit.row, inside);
}
