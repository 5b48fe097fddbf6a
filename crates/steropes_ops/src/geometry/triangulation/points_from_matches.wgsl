// One invocation for each pixel of the reference image: view after view, a triangle of four equations in registers. Where not all views
// fit a launch, `points`, `depth` and `confidence` hold the sum, the number of views and the confidence so far.
//
// Header: THREADS, MIN_DIAGONAL_RATIO, triangle.wgsl.

struct Params {
    count: u32, all_views: u32, first_view: u32, views: u32, pixels: u32, too_few: u32, is_last: u32,
    intrinsics_shift: u32, poses_shift: u32, matches_shift: u32, points_shift: u32, depth_shift: u32, nan: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> intrinsics: array<f32>;
@group(0) @binding(1) var<storage, read> poses: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> matches: array<f32>;
@group(0) @binding(3) var<storage, read_write> points: array<u32>;
@group(0) @binding(4) var<storage, read_write> depth: array<u32>;
@group(0) @binding(5) var<storage, read_write> confidence: array<f32>;

// Row `row` of the intrinsics of a camera times its pose.
fn projection(camera: u32, row: u32) -> vec4<f32> {
    let k = params.intrinsics_shift + 9u * camera + 3u * row;
    let pose = params.poses_shift + 3u * camera;
    return intrinsics[k] * poses[pose] + intrinsics[k + 1u] * poses[pose + 1u]
        + intrinsics[k + 2u] * poses[pose + 2u];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let item = i / params.pixels;
        let pixel = i % params.pixels;
        let reference = item * (params.all_views + 1u);
        let r1 = projection(reference, 0u);
        let r2 = projection(reference, 1u);
        let r3 = projection(reference, 2u);
        var sum = vec3<f32>();
        var total = 0.0;
        var valid = 0u;
        let at = params.points_shift + 3u * i;
        let place = params.depth_shift + i;
        if (params.first_view > 0u) {
            sum = bitcast<vec3<f32>>(vec3<u32>(points[at], points[at + 1u], points[at + 2u]));
            total = confidence[place];
            valid = depth[place];
        }
        for (var view = 0u; view < params.views; view++) {
            let m = params.matches_shift + 5u * ((item * params.views + view) * params.pixels + pixel);
            let camera = reference + 1u + params.first_view + view;
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
        confidence[place] = total;
        if (params.is_last == 0u) {
            points[at] = bitcast<u32>(sum.x);
            points[at + 1u] = bitcast<u32>(sum.y);
            points[at + 2u] = bitcast<u32>(sum.z);
            depth[place] = valid;
            return;
        }
        let mean = sum / select(total, 1.0, total <= 1e-5);
        let z = dot(poses[params.poses_shift + 3u * reference + 2u], vec4<f32>(mean, 1.0));
        let bits = select(vec4<u32>(params.nan), bitcast<vec4<u32>>(vec4<f32>(mean, z)), valid > params.too_few);
        points[at] = bits.x;
        points[at + 1u] = bits.y;
        points[at + 2u] = bits.z;
        depth[place] = bits.w;
    }
}
