// The triangular factor of the equations so far, with the rotated right side. Of the second row only yzw count, of the third
// only zw: what is left of them is the rounding error of zeros.
struct Triangle { a: vec4<f32>, b: vec4<f32>, c: vec4<f32> }

// By its bits: fast mathematics may take it for granted.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Rotates the pair of rows so that the element of `e` below `pivot` vanishes; `pivot` and `element` are those elements.
fn turn(row: ptr<function, vec4<f32>>, e: ptr<function, vec4<f32>>, pivot: f32, element: f32) {
    let length = sqrt(pivot * pivot + element * element);
    if (length > 0.0) {
        let cosine = pivot / length;
        let sine = element / length;
        let old = *row;
        *row = cosine * old + sine * *e;
        *e = cosine * *e - sine * old;
    }
}

// Adds the equation equation.xyz X + equation.w = 0.
fn add_equation(t: ptr<function, Triangle>, equation: vec4<f32>) {
    var e = vec4<f32>(equation.xyz, -equation.w);
    var a = (*t).a;
    var b = (*t).b;
    var c = (*t).c;
    turn(&a, &e, a.x, e.x);
    turn(&b, &e, b.y, e.y);
    turn(&c, &e, c.z, e.z);
    *t = Triangle(a, b, c);
}

// Adds both equations of a camera with the rows p1, p2, p3, none if the pixel is not finite.
fn add_view(t: ptr<function, Triangle>, p1: vec4<f32>, p2: vec4<f32>, p3: vec4<f32>, pixel: vec2<f32>) {
    if (is_finite(pixel.x) && is_finite(pixel.y)) {
        add_equation(t, p1 - pixel.x * p3);
        add_equation(t, p2 - pixel.y * p3);
    }
}

// The point, and 1 if the equations determine one that f32 can hold, else 0.
fn solution(t: ptr<function, Triangle>) -> vec4<f32> {
    let a = (*t).a;
    let b = (*t).b;
    let c = (*t).c;
    let diagonal = abs(vec3<f32>(a.x, b.y, c.z));
    let largest = max(diagonal.x, max(diagonal.y, diagonal.z));
    let smallest = min(diagonal.x, min(diagonal.y, diagonal.z));
    if (!(smallest > 0.0 && smallest >= MIN_DIAGONAL_RATIO * largest)) {
        return vec4<f32>(0.0);
    }
    let z = c.w / c.z;
    let y = (b.w - b.z * z) / b.y;
    let x = (a.w - a.y * y - a.z * z) / a.x;
    let finite = is_finite(x) && is_finite(y) && is_finite(z);
    return vec4<f32>(x, y, z, select(0.0, 1.0, finite));
}

