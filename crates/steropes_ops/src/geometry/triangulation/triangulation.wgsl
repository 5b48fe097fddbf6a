// One invocation for each point: its equations, one after another, are rotated into a triangle that stays in registers.
//
// Header: THREADS, MIN_DIAGONAL_RATIO, triangle.wgsl.

struct Params { count: u32, cameras: u32, points: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> pixels: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> projections: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let first = i / params.points * params.cameras;
        let point = i % params.points;
        var t = Triangle();
        for (var k = 0u; k < params.cameras; k++) {
            let camera = first + k;
            add_view(
                &t,
                projections[3u * camera],
                projections[3u * camera + 1u],
                projections[3u * camera + 2u],
                pixels[camera * params.points + point],
            );
        }
        let x = solution(&t);
        let bits = select(vec3<u32>(params.nan), bitcast<vec3<u32>>(x.xyz), x.w > 0.0);
        found[3u * i] = bits.x;
        found[3u * i + 1u] = bits.y;
        found[3u * i + 2u] = bits.z;
    }
}
