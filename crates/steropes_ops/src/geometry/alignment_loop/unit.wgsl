// A unit of work is at most CHUNK matches of one edge (a pair of images seen one way), evaluated by one workgroup in the camera
// frame of the edge's frame. Every invocation takes PER_THREAD matches; its SUMS sums meet in workgroup memory in a fixed
// order: PARTS invocations per sum, then one.

struct Unit {
    owner: u32,
    frame: u32,
    first: u32,
    count: u32,
    segments: u32,
    segment_base: u32,
    row: u32,
    extra: u32,
}

struct Relative { rotation: mat3x3<f32>, center: vec3<f32> }

fn unit_at(index: u32) -> Unit {
    let a = units[2u * index];
    let b = units[2u * index + 1u];
    return Unit(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

// The owner's camera seen from the frame's.
fn relative(unit: Unit) -> Relative {
    let back = transpose(rotation_of(unit.frame));
    return Relative(back * rotation_of(unit.owner), back * (center_of(unit.owner) - center_of(unit.frame)));
}

var<workgroup> scratch: array<f32, SUMS * PITCH>;
var<workgroup> part_sums: array<f32, SUMS * PARTS>;

// Writes the sums over the workgroup of what every invocation put at `scratch[v * PITCH + thread]`.
fn write_sums(thread: u32, row: u32, inside: bool) {
    workgroupBarrier();
    if (thread < SUMS * PARTS) {
        let start = thread / PARTS * PITCH + thread % PARTS;
        var sum = 0.0;
        for (var j = 0u; j < THREADS; j += PARTS) {
            sum += scratch[start + j];
        }
        part_sums[thread] = sum;
    }
    workgroupBarrier();
    if (thread < SUMS && inside) {
        var sum = 0.0;
        for (var p = 0u; p < PARTS; p++) {
            sum += part_sums[thread * PARTS + p];
        }
        sums[row * SUMS + thread] = params.share * sum;
    }
}

fn put(v: u32, thread: u32, value: f32) {
    scratch[v * PITCH + thread] = value;
}

fn put3(v: u32, thread: u32, value: vec3<f32>) {
    put(v, thread, value.x);
    put(v + 1u, thread, value.y);
    put(v + 2u, thread, value.z);
}
