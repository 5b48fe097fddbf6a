// One workgroup per unit: the owner's points projected into the frame's image, compared with the pixels there.
//
// Sums: loss, derivatives by the relative centre (3) and rotation (9), focal length times itself, principal point (2) of the
// frame, relief of the owner.
// Header: SUMS, PITCH, PARTS, THREADS, PER_THREAD; view.wgsl, unit.wgsl, segments.wgsl.

// x, y, weight; and the start of the segment of this number.
@group(0) @binding(6) var<storage, read> seen: array<vec4<u32>>;

fn segment_start(index: u32) -> u32 {
    return seen[index].w;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = unit_index(group);
    let inside = index < params.units;
    let unit = unit_at(index);
    let pose = relative(unit);
    let lens = lens_of(unit.owner, of_view(unit.owner, SCALE));
    let focal = of_view(unit.frame, FOCAL);
    let principal = vec2<f32>(of_view(unit.frame, PRINCIPAL), of_view(unit.frame, PRINCIPAL + 1u));
    var loss = 0.0;
    var by_center = vec3<f32>();
    var by_x = vec3<f32>();
    var by_y = vec3<f32>();
    var by_z = vec3<f32>();
    var by_focal = 0.0;
    var by_principal = vec2<f32>();
    var by_relief = 0.0;
    for (var j = 0u; j < PER_THREAD; j++) {
        let i = thread + j * THREADS;
        if (i < unit.count) {
            let o = own[unit.first + i];
            let s = seen[unit.first + i];
            let pixel = bitcast<vec2<f32>>(s.xy);
            let depth = lens.zero + lens.median * depths[o.w];
            let rise = bitcast<f32>(o.z) - 1.0;
            let factor = 1.0 + rise * lens.relief;
            let z = depth * factor;
            let along_ray = ray(lens, bitcast<vec2<f32>>(o.xy));
            let turned = pose.rotation * along_ray;
            let y = z * turned + pose.center;
            let inverse = 1.0 / max(y.z, 1e-3);
            let before = y.z >= 1e-3;
            // Where the depth is large enough, y.z / y.z is 1 and need not be rounded.
            let ratio = select(y.z * inverse, 1.0, before);
            let scaled = focal * inverse;
            let q = scaled * y.xy;
            let e = q + (principal * ratio - pixel);
            let low = vec2<f32>(-1000.0) - pixel;
            let high = vec2<f32>(2000.0) - pixel;
            let cut = clamp(e, low, high);
            let length = sqrt(dot(cut, cut));
            let root = sqrt(length + 0.25);
            let weight = bitcast<f32>(s.z);
            // rho = root - 1/2, written so that small lengths are kept.
            loss += weight * length / (root + 0.5);
            let c = 0.5 * weight / (root * max(length, 1e-18));
            let by_pixel = select(vec2<f32>(), c * e, (e >= low) & (e <= high));
            let along = dot(by_pixel, q);
            let g = vec3<f32>(by_pixel * scaled, inverse * select(dot(by_pixel, principal), -along, before));
            let by_depth = dot(g, turned);
            by_center += g;
            let point = z * along_ray;
            by_x += g.x * point;
            by_y += g.y * point;
            by_z += g.z * point;
            by_focal += along;
            by_principal += by_pixel * ratio;
            by_relief += by_depth * depth * rise;
            scratch[i] = by_depth * factor;
        }
    }
    write_segments(thread, unit, inside);
    put_pose(thread, loss, by_center, by_x, by_y, by_z);
    put3(13u, thread, vec3<f32>(by_focal, by_principal));
    put(16u, thread, by_relief);
    write_sums(thread, unit.row, inside);
}
