// One invocation for each point: its equations, one after another, are rotated into a triangle that stays in registers. Where not all
// cameras fit a launch, it waits in `triangles` for the next one.
//
// Header: THREADS, MIN_DIAGONAL_RATIO, triangle.wgsl.

struct Params {
    count: u32, cameras: u32, points: u32, is_first: u32, is_last: u32,
    pixels_shift: u32, projections_shift: u32, found_shift: u32, nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> pixels: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> projections: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@group(0) @binding(3) var<storage, read_write> triangles: array<Triangle>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let first = i / params.points * params.cameras;
        let point = i % params.points;
        var t = Triangle();
        if (params.is_first == 0u) {
            t = triangles[i];
        }
        for (var k = 0u; k < params.cameras; k++) {
            let camera = first + k;
            let row = params.projections_shift + 3u * camera;
            let pixel = pixels[params.pixels_shift + camera * params.points + point];
            add_view(&t, projections[row], projections[row + 1u], projections[row + 2u], pixel);
        }
        if (params.is_last == 0u) {
            triangles[i] = t;
            return;
        }
        let x = solution(&t);
        let bits = select(vec3<u32>(params.nan), bitcast<vec3<u32>>(x.xyz), x.w > 0.0);
        let at = params.found_shift + 3u * i;
        found[at] = bits.x;
        found[at + 1u] = bits.y;
        found[at + 2u] = bits.z;
    }
}
