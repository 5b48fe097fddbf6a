// Cameras from parameters, by one workgroup: sizes and their minimum, each image alone, then the tree level by level.
//
// Header: THREADS; view.wgsl, image.wgsl.

struct Params { images: u32, levels: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> topology: array<u32>;
@group(0) @binding(1) var<storage, read_write> images: array<f32>;
@group(0) @binding(2) var<storage, read_write> views: array<f32>;
// The smallest size and how many images have it.
@group(0) @binding(3) var<storage, read_write> smallest: array<f32>;

var<workgroup> shared_values: array<f32, THREADS>;

fn minimum(x: f32, thread: u32) -> f32 {
    shared_values[thread] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            shared_values[thread] = min(shared_values[thread], shared_values[thread + half]);
        }
    }
    workgroupBarrier();
    let result = shared_values[0];
    workgroupBarrier();
    return result;
}

fn sum(x: f32, thread: u32) -> f32 {
    shared_values[thread] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            shared_values[thread] += shared_values[thread + half];
        }
    }
    workgroupBarrier();
    let result = shared_values[0];
    workgroupBarrier();
    return result;
}

// The rotation matrix of a quaternion of any length.
fn matrix_of(quaternion: vec4<f32>) -> mat3x3<f32> {
    let q = quaternion / sqrt(dot(quaternion, quaternion));
    let s = q * q;
    return mat3x3<f32>(
        s.w + s.x - s.y - s.z, 2.0 * (q.x * q.y + q.z * q.w), 2.0 * (q.x * q.z - q.y * q.w),
        2.0 * (q.x * q.y - q.z * q.w), s.w - s.x + s.y - s.z, 2.0 * (q.y * q.z + q.x * q.w),
        2.0 * (q.x * q.z + q.y * q.w), 2.0 * (q.y * q.z - q.x * q.w), s.w - s.x - s.y + s.z,
    );
}

fn set_rotation(view: u32, m: mat3x3<f32>) {
    for (var r = 0u; r < 3u; r++) {
        for (var c = 0u; c < 3u; c++) {
            views[view * VIEW + 3u * r + c] = m[c][r];
        }
    }
}

// What follows from the parameters of one image alone.
fn decode(i: u32) {
    let wanted = of_image(i, START_FOCAL) * exp(of_image(i, PARAMETERS + 8u));
    let focal = clamp(wanted, of_image(i, FOCAL_RANGE), of_image(i, FOCAL_RANGE + 1u));
    let sides = vec2<f32>(of_image(i, SIDES), of_image(i, SIDES + 1u));
    let principal = vec2<f32>(of_image(i, PARAMETERS + 9u), of_image(i, PARAMETERS + 10u)) * sides;
    let median = of_image(i, MEDIAN_DEPTH);
    let base = of_image(i, BASE_FOCAL);
    let turn = matrix_of(quaternion_of(i));
    set_matrix(i, TURN, turn);
    set_vector(i, PLACE, vector_of(i, PARAMETERS + 4u));
    set_number(i, DISTANCE, of_image(i, SIZE) * median * focal / base);
    let direction = (vec2<f32>(of_image(i, PIVOT), of_image(i, PIVOT + 1u)) - principal) / focal;
    set_number(i, DIRECTION, direction.x);
    set_number(i, DIRECTION + 1u, direction.y);
    set_number(i, FOCAL_IS_FREE, select(0.0, 1.0, focal == wanted));
    set_rotation(i, turn);
    let at = i * VIEW;
    views[at + FOCAL] = focal;
    views[at + PRINCIPAL] = principal.x;
    views[at + PRINCIPAL + 1u] = principal.y;
    views[at + RELIEF] = base / focal;
    views[at + ZERO] = median * (focal - base) / base;
    views[at + MEDIAN] = median;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var own = 1e30;
    for (var i = thread; i < params.images; i += THREADS) {
        let size = exp(of_image(i, PARAMETERS + 7u));
        set_number(i, SIZE, size);
        own = min(own, size);
    }
    let least = minimum(own, thread);
    var ties = 0.0;
    for (var i = thread; i < params.images; i += THREADS) {
        ties += select(0.0, 1.0, of_image(i, SIZE) == least);
        decode(i);
    }
    ties = sum(ties, thread);
    if (thread == 0u) {
        smallest[0] = least;
        smallest[1] = ties;
    }
    for (var level = 1u; level < params.levels; level++) {
        meet();
        for (var n = level_start(level) + thread; n < level_start(level + 1u); n += THREADS) {
            let i = topology[n];
            let parent = parent_of(i);
            let rotation = rotation_of(parent);
            set_vector(i, PLACE, rotation * vector_of(i, PARAMETERS + 4u) + vector_of(parent, PLACE));
            set_rotation(i, rotation * matrix_in(i, TURN));
        }
    }
    meet();
    let global = 1.0 / least;
    for (var i = thread; i < params.images; i += THREADS) {
        let offset = of_image(i, DISTANCE) * vec3<f32>(of_image(i, DIRECTION), of_image(i, DIRECTION + 1u), 1.0);
        let center = global * (vector_of(i, PLACE) - rotation_of(i) * offset);
        let at = i * VIEW;
        views[at + 9u] = center.x;
        views[at + 10u] = center.y;
        views[at + 11u] = center.z;
        views[at + SCALE] = global * of_image(i, SIZE);
    }
}
