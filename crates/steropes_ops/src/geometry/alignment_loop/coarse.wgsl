// One workgroup per unit: distances of the world points of both ends, in the camera frame of the second image.
//
// Sums: loss, derivatives by the relative centre (3) and by the relative rotation times scale (9), by the frame's scale.
// Header: SUMS, PITCH, PARTS, THREADS, PER_THREAD; view.wgsl, unit.wgsl.

struct Params { units: u32, share: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> units: array<vec4<u32>>;
// x, y, depth relative to the anchor, anchor.
@group(0) @binding(1) var<storage, read> own: array<vec4<u32>>;
// x, y, weight of the other end; its depth relative to the anchor and anchor in `other`.
@group(0) @binding(2) var<storage, read> seen: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> other: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> views: array<f32>;
@group(0) @binding(5) var<storage, read> depths: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;

// What makes a camera-frame point at unit scale of a pixel.
struct Lens { principal: vec2<f32>, inverse_focal: f32, relief: f32, zero: f32, median: f32 }

fn lens_of(view: u32) -> Lens {
    let principal = vec2<f32>(of_view(view, PRINCIPAL), of_view(view, PRINCIPAL + 1u));
    return Lens(principal, 1.0 / of_view(view, FOCAL), of_view(view, RELIEF), of_view(view, ZERO), of_view(view, MEDIAN));
}

fn point(lens: Lens, x: vec2<f32>, offset: f32, anchor: u32) -> vec3<f32> {
    let depth = lens.zero + lens.median * depths[anchor];
    let z = depth * (1.0 + (offset - 1.0) * lens.relief);
    return z * vec3<f32>((x - lens.principal) * lens.inverse_focal, 1.0);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.units;
    let unit = unit_at(min(index, params.units - 1u));
    let pose = relative(unit);
    let lens_own = lens_of(unit.owner);
    let lens_seen = lens_of(unit.frame);
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
    put(0u, thread, loss);
    put3(1u, thread, by_center);
    put3(4u, thread, by_x);
    put3(7u, thread, by_y);
    put3(10u, thread, by_z);
    put(13u, thread, by_scale);
    put3(14u, thread, vec3<f32>());
    write_sums(thread, unit.row, inside);
}
