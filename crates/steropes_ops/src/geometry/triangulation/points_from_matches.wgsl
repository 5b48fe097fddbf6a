// One invocation for each pixel of the reference image: view after view, a triangle of four equations in registers.
//
// Header: THREADS, MIN_DIAGONAL_RATIO, triangle.wgsl.

struct Params { count: u32, views: u32, pixels: u32, too_few: u32, nan: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> intrinsics: array<f32>;
@group(0) @binding(1) var<storage, read> poses: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> matches: array<f32>;
@group(0) @binding(3) var<storage, read_write> points: array<u32>;
@group(0) @binding(4) var<storage, read_write> depth: array<u32>;
@group(0) @binding(5) var<storage, read_write> confidence: array<f32>;

// Row `row` of the intrinsics of a camera times its pose.
fn projection(camera: u32, row: u32) -> vec4<f32> {
    let k = 9u * camera + 3u * row;
    let pose = 3u * camera;
    return intrinsics[k] * poses[pose] + intrinsics[k + 1u] * poses[pose + 1u]
        + intrinsics[k + 2u] * poses[pose + 2u];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let item = i / params.pixels;
        let pixel = i % params.pixels;
        let reference = item * (params.views + 1u);
        let r1 = projection(reference, 0u);
        let r2 = projection(reference, 1u);
        let r3 = projection(reference, 2u);
        var sum = vec3<f32>();
        var total = 0.0;
        var valid = 0u;
        for (var view = 0u; view < params.views; view++) {
            let m = 5u * ((item * params.views + view) * params.pixels + pixel);
            let camera = reference + 1u + view;
            var t = Triangle();
            add_view(&t, r1, r2, r3, vec2<f32>(matches[m], matches[m + 1u]));
            let other = vec2<f32>(matches[m + 2u], matches[m + 3u]);
            add_view(&t, projection(camera, 0u), projection(camera, 1u), projection(camera, 2u), other);
            let x = solution(&t);
            let weight = matches[m + 4u];
            if (x.w > 0.0 && is_finite(weight)) {
                sum += weight * x.xyz;
                total += weight;
                valid += 1u;
            }
        }
        let mean = sum / select(total, 1.0, total <= 1e-5);
        let z = dot(poses[3u * reference + 2u], vec4<f32>(mean, 1.0));
        let bits = select(vec4<u32>(params.nan), bitcast<vec4<u32>>(vec4<f32>(mean, z)), valid > params.too_few);
        points[3u * i] = bits.x;
        points[3u * i + 1u] = bits.y;
        points[3u * i + 2u] = bits.z;
        depth[i] = bits.w;
        confidence[i] = total;
    }
}
