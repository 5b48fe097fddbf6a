//! The scene as one binary glTF file.

use super::placement::{Placement, camera_color, picture_corners, registered};
use super::{SceneCloud, ScenePhoto, WriteError, write_file};
use gltf_json as json;
use image::ImageEncoder as _;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use json::accessor::{ComponentType, GenericComponentType, Type};
use json::mesh::{Mode, Primitive, Semantic};
use json::validation::Checked::Valid;
use json::{Index, Root, Value};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use std::collections::BTreeMap;
use std::path::Path;

/// Longest side of a photo in the file.
const PICTURE_SIDE_PX: u32 = 320;

/// JPEG quality of the photos in the file.
const PICTURE_QUALITY: u8 = 85;

/// Writes points, camera frusta and photos as binary glTF 2.0.
///
/// One mesh holds the points (POSITION f32, COLOR_0 as normalised bytes). Each registered photo is a node named after
/// it, with a frustum of lines, the photo as a textured quad on its picture plane, and a glTF camera with its angle
/// of view. The scene is turned so that the first registered camera stands at the origin and looks along -z with y
/// up, glTF's own axes.
///
/// # Errors
/// [`WriteError::Scene`] for an empty or inconsistent cloud or a file beyond the format's 4 GiB,
/// [`WriteError::Encode`], [`WriteError::Io`].
///
/// # Source
/// Khronos glTF 2.0 specification; KHR_materials_unlit.
pub fn write_glb(path: &Path, cloud: &SceneCloud, photos: &[ScenePhoto]) -> Result<(), WriteError> {
    cloud.check(path)?;
    let encode = |reason: String| WriteError::Encode { path: path.to_owned(), reason };
    let mut document = Document::new();
    let mut children = vec![document.add_points(cloud)];
    let camera_length = Placement::new(cloud, photos).camera_length;
    for (index, photo, pose) in registered(photos) {
        let color = camera_color(index, photos.len());
        let jpeg = small_jpeg(photo).map_err(|error| encode(error.to_string()))?;
        children.push(document.add_photo(photo, pose, camera_length, color, jpeg));
    }
    let first_pose = registered(photos).next().map_or_else(Isometry3::identity, |(_, _, pose)| *pose);
    document.add_scene(children, &(half_turn() * first_pose.inverse()));
    let Document { mut root, binary } = document;
    root.buffers[0].byte_length = binary.len().into();
    let text = root.to_string().map_err(|error| encode(error.to_string()))?;
    let file = container(text.into_bytes(), binary)
        .ok_or_else(|| WriteError::scene(path, "the scene", "smaller than 4 GiB", "more"))?;
    write_file(path, |out| file.iter().try_for_each(|part| out.write_all(part)))
}

/// Half a turn about x: from axes with y down and z forward to glTF's, y up and looking along -z.
fn half_turn() -> Isometry3<f64> {
    let turn = UnitQuaternion::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI);
    Isometry3::from_parts(Vector3::zeros().into(), turn)
}

/// Header and chunks of the GLB container; each chunk a multiple of 4 bytes, text filled up with spaces and binary
/// data with zeros. `None` if the lengths exceed 32 bits.
fn container(mut text: Vec<u8>, mut binary: Vec<u8>) -> Option<[Vec<u8>; 4]> {
    text.resize(text.len().next_multiple_of(4), b' ');
    binary.resize(binary.len().next_multiple_of(4), 0);
    let total = u32::try_from(12 + 8 + text.len() + 8 + binary.len()).ok()?;
    let mut head = b"glTF".to_vec();
    for word in [2, total, text.len() as u32] {
        head.extend(u32::to_le_bytes(word));
    }
    head.extend(b"JSON");
    let mut between = (binary.len() as u32).to_le_bytes().to_vec();
    between.extend(b"BIN\0");
    Some([head, text, between, binary])
}

fn small_jpeg(photo: &ScenePhoto) -> image::ImageResult<Vec<u8>> {
    let (width, height) = photo.thumbnail.dimensions();
    let scale = (f64::from(PICTURE_SIDE_PX) / f64::from(width.max(height).max(1))).min(1.0);
    let side = |s: u32| ((f64::from(s) * scale).round() as u32).max(1);
    let small = resize(&photo.thumbnail, side(width), side(height), FilterType::CatmullRom);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, PICTURE_QUALITY).write_image(
        &small,
        small.width(),
        small.height(),
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// A glTF document under construction with its only buffer.
struct Document {
    root: Root,
    binary: Vec<u8>,
}

impl Document {
    fn new() -> Self {
        let mut root = Root::default();
        root.asset.generator = Some(format!("steropes {}", env!("CARGO_PKG_VERSION")));
        root.extensions_used.push("KHR_materials_unlit".to_owned());
        // Its length is known in the end.
        root.push(json::Buffer {
            byte_length: 0usize.into(),
            name: None,
            uri: None,
            extensions: None,
            extras: json::Extras::default(),
        });
        Self { root, binary: Vec::new() }
    }

    fn add_points(&mut self, cloud: &SceneCloud) -> Index<json::Node> {
        let positions = self.add_vectors(&cloud.points, Type::Vec3, true);
        let bytes: Vec<u8> = cloud.colors.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
        let view = self.add_view(&bytes, Some(json::buffer::Target::ArrayBuffer));
        let mut colors = accessor(view, cloud.colors.len(), ComponentType::U8, Type::Vec4);
        colors.normalized = true;
        let colors = self.root.push(colors);
        let attributes = [(Semantic::Positions, positions), (Semantic::Colors(0), colors)];
        let material = self.add_material("points", [255; 3], None);
        let mesh = self.add_mesh("points", vec![primitive(Mode::Points, attributes, None, material)]);
        self.root.push(json::Node { mesh: Some(mesh), name: Some("points".to_owned()), ..node() })
    }

    /// A node at the photo's pose: frustum and photo in camera coordinates, and a camera below it.
    fn add_photo(
        &mut self,
        photo: &ScenePhoto,
        pose: &Isometry3<f64>,
        length: f64,
        color: [u8; 3],
        jpeg: Vec<u8>,
    ) -> Index<json::Node> {
        let corners =
            picture_corners(&photo.pinhole, photo.size, length).map(|c| c.coords.cast::<f32>().into());
        let frustum = self.frustum(&corners, &photo.name, color);
        let picture = self.picture(&corners, &photo.name, &jpeg);
        let mesh = self.add_mesh(&photo.name, vec![frustum, picture]);
        let view = self.add_camera(photo, length);
        self.root.push(json::Node {
            mesh: Some(mesh),
            name: Some(photo.name.clone()),
            children: Some(vec![view]),
            ..placed(pose)
        })
    }

    fn frustum(&mut self, corners: &[[f32; 3]; 4], name: &str, color: [u8; 3]) -> Primitive {
        let edges = (0..4).flat_map(|i| [[0.0; 3], corners[i], corners[i], corners[(i + 1) % 4]]);
        let positions = self.add_vectors(&edges.collect::<Vec<_>>(), Type::Vec3, true);
        let material = self.add_material(&format!("frustum of {name}"), color, None);
        primitive(Mode::Lines, [(Semantic::Positions, positions)], None, material)
    }

    fn picture(&mut self, corners: &[[f32; 3]; 4], name: &str, jpeg: &[u8]) -> Primitive {
        let positions = self.add_vectors(corners, Type::Vec3, true);
        let places =
            self.add_vectors(&[[0.0f32, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], Type::Vec2, false);
        // Counter-clockwise as seen from the camera's centre.
        let indices: Vec<u8> = [0u16, 3, 2, 0, 2, 1].iter().flat_map(|i| i.to_le_bytes()).collect();
        let view = self.add_view(&indices, Some(json::buffer::Target::ElementArrayBuffer));
        let indices = self.root.push(accessor(view, 6, ComponentType::U16, Type::Scalar));
        let texture = self.add_texture(name, jpeg);
        let material = self.add_material(name, [255; 3], Some(texture));
        let attributes = [(Semantic::Positions, positions), (Semantic::TexCoords(0), places)];
        primitive(Mode::Triangles, attributes, Some(indices), material)
    }

    /// A glTF camera that looks as the photo's camera does; it looks along -z of its node with y up.
    fn add_camera(&mut self, photo: &ScenePhoto, length: f64) -> Index<json::Node> {
        let [width, height] = photo.size.map(f64::from);
        let [fx, fy] = photo.pinhole.focal_px;
        let camera = self.root.push(json::Camera {
            name: Some(photo.name.clone()),
            orthographic: None,
            perspective: Some(json::camera::Perspective {
                aspect_ratio: Some((width / fx * fy / height) as f32),
                yfov: (2.0 * (0.5 * height / fy).atan()) as f32,
                zfar: None,
                znear: (0.1 * length) as f32,
                extensions: None,
                extras: json::Extras::default(),
            }),
            type_: Valid(json::camera::Type::Perspective),
            extensions: None,
            extras: json::Extras::default(),
        });
        let name = Some(format!("view of {}", photo.name));
        self.root.push(json::Node { camera: Some(camera), name, ..placed(&half_turn()) })
    }

    fn add_scene(&mut self, children: Vec<Index<json::Node>>, turn: &Isometry3<f64>) {
        let name = Some("scene".to_owned());
        let top = self.root.push(json::Node { children: Some(children), name: name.clone(), ..placed(turn) });
        let scene = self.root.push(json::Scene {
            extensions: None,
            extras: json::Extras::default(),
            name,
            nodes: vec![top],
        });
        self.root.scene = Some(scene);
    }

    /// Appends bytes to the buffer at a multiple of 4, which suits every component type.
    fn add_view(&mut self, bytes: &[u8], target: Option<json::buffer::Target>) -> Index<json::buffer::View> {
        self.binary.resize(self.binary.len().next_multiple_of(4), 0);
        let offset = self.binary.len();
        self.binary.extend_from_slice(bytes);
        self.root.push(json::buffer::View {
            buffer: Index::new(0),
            byte_length: bytes.len().into(),
            byte_offset: Some(offset.into()),
            byte_stride: None,
            name: None,
            target: target.map(Valid),
            extensions: None,
            extras: json::Extras::default(),
        })
    }

    /// Vectors of floats with their bounds, which positions must have.
    fn add_vectors<const N: usize>(
        &mut self,
        vectors: &[[f32; N]],
        shape: Type,
        with_bounds: bool,
    ) -> Index<json::Accessor> {
        let bytes: Vec<u8> = vectors.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = self.add_view(&bytes, Some(json::buffer::Target::ArrayBuffer));
        let mut accessor = accessor(view, vectors.len(), ComponentType::F32, shape);
        if with_bounds {
            let bound = |pick: fn(f32, f32) -> f32| {
                let all = vectors.iter().copied();
                let bound = all.reduce(|a, b| std::array::from_fn(|i| pick(a[i], b[i]))).expect("not empty");
                Value::from(bound.to_vec())
            };
            accessor.min = Some(bound(f32::min));
            accessor.max = Some(bound(f32::max));
        }
        self.root.push(accessor)
    }

    fn add_texture(&mut self, name: &str, jpeg: &[u8]) -> Index<json::Texture> {
        let view = self.add_view(jpeg, None);
        let source = self.root.push(json::Image {
            buffer_view: Some(view),
            mime_type: Some(json::image::MimeType("image/jpeg".to_owned())),
            name: Some(name.to_owned()),
            uri: None,
            extensions: None,
            extras: json::Extras::default(),
        });
        let sampler = self.root.push(json::texture::Sampler {
            wrap_s: Valid(json::texture::WrappingMode::ClampToEdge),
            wrap_t: Valid(json::texture::WrappingMode::ClampToEdge),
            ..Default::default()
        });
        self.root.push(json::Texture {
            name: None,
            sampler: Some(sampler),
            source,
            extensions: None,
            extras: json::Extras::default(),
        })
    }

    /// A material that shows its colour as it is, without light.
    fn add_material(
        &mut self,
        name: &str,
        color: [u8; 3],
        texture: Option<Index<json::Texture>>,
    ) -> Index<json::Material> {
        let [r, g, b] = color.map(linear);
        let base_color_texture = texture.map(|index| json::texture::Info {
            index,
            tex_coord: 0,
            extensions: None,
            extras: json::Extras::default(),
        });
        self.root.push(json::Material {
            name: Some(name.to_owned()),
            double_sided: true,
            pbr_metallic_roughness: json::material::PbrMetallicRoughness {
                base_color_factor: json::material::PbrBaseColorFactor([r, g, b, 1.0]),
                base_color_texture,
                metallic_factor: json::material::StrengthFactor(0.0),
                ..Default::default()
            },
            extensions: Some(json::extensions::material::Material {
                unlit: Some(json::extensions::material::Unlit {}),
            }),
            ..Default::default()
        })
    }

    fn add_mesh(&mut self, name: &str, primitives: Vec<Primitive>) -> Index<json::Mesh> {
        self.root.push(json::Mesh {
            name: Some(name.to_owned()),
            primitives,
            weights: None,
            extensions: None,
            extras: json::Extras::default(),
        })
    }
}

/// glTF's colour factors are linear; colours here are sRGB.
fn linear(value: u8) -> f32 {
    let v = f32::from(value) / 255.0;
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

fn primitive<const N: usize>(
    mode: Mode,
    attributes: [(Semantic, Index<json::Accessor>); N],
    indices: Option<Index<json::Accessor>>,
    material: Index<json::Material>,
) -> Primitive {
    Primitive {
        attributes: BTreeMap::from(attributes.map(|(semantic, index)| (Valid(semantic), index))),
        indices,
        material: Some(material),
        mode: Valid(mode),
        targets: None,
        extensions: None,
        extras: json::Extras::default(),
    }
}

fn accessor(
    view: Index<json::buffer::View>,
    count: usize,
    component: ComponentType,
    shape: Type,
) -> json::Accessor {
    json::Accessor {
        buffer_view: Some(view),
        byte_offset: None,
        count: count.into(),
        component_type: Valid(GenericComponentType(component)),
        type_: Valid(shape),
        min: None,
        max: None,
        name: None,
        normalized: false,
        sparse: None,
        extensions: None,
        extras: json::Extras::default(),
    }
}

fn node() -> json::Node {
    json::Node {
        camera: None,
        children: None,
        matrix: None,
        mesh: None,
        name: None,
        rotation: None,
        scale: None,
        translation: None,
        skin: None,
        weights: None,
        extensions: None,
        extras: json::Extras::default(),
    }
}

/// A node whose children are moved by `pose`.
fn placed(pose: &Isometry3<f64>) -> json::Node {
    let q = pose.rotation.coords.cast::<f32>();
    json::Node {
        rotation: Some(json::scene::UnitQuaternion([q.x, q.y, q.z, q.w])),
        translation: Some(pose.translation.vector.cast::<f32>().into()),
        ..node()
    }
}

#[cfg(test)]
mod tests;
