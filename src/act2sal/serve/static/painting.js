// What the canvas shows, from a photo and its map: at once, without the service.

export const LONGEST = 1280; // pixels that are shown; downloads have those of the photo

export function levels(map, soft, threshold) {
  // The alpha of each pixel, 0..255, from map levels 0..255.
  if (soft) return map;
  const cut = threshold * 255;
  return map.map((level) => (level > cut ? 255 : 0));
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

export function pixelsOf(source, width, height) {
  const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

export function mapLevels(bitmap, width, height) {
  const { data } = pixelsOf(bitmap, width, height);
  return new Uint8ClampedArray(width * height).map((_, index) => data[4 * index]);
}

function ground(kind, look, photo, width, height) {
  const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
  if (kind === "color") {
    context.fillStyle = look.color;
    context.fillRect(0, 0, width, height);
  } else if (kind === "blur") {
    context.filter = `blur(${Math.max(width, height) / 40}px)`;
    context.drawImage(photo, 0, 0, width, height);
  } else if (look.background) {
    const scale = Math.max(width / look.background.width, height / look.background.height);
    const [w, h] = [look.background.width * scale, look.background.height * scale];
    context.drawImage(look.background, (width - w) / 2, (height - h) / 2, w, h);
  }
  return context.getImageData(0, 0, width, height).data;
}

// The pixels of one kind of result; photo: ImageData, alpha: levels.
export function painted(kind, look, bitmap, photo, map) {
  const { width, height } = photo;
  const alpha = kind === "map" ? map : levels(map, look.soft && kind !== "mask", look.threshold);
  const result = new ImageData(new Uint8ClampedArray(photo.data), width, height);
  const { data } = result;
  if (kind === "map" || kind === "mask") {
    for (let i = 0; i < alpha.length; i += 1) data.fill(alpha[i], 4 * i, 4 * i + 3);
  } else if (kind === "cutout") {
    for (let i = 0; i < alpha.length; i += 1) data[4 * i + 3] = (data[4 * i + 3] * alpha[i]) / 255;
  } else {
    const behind = kind === "overlay" ? null : ground(kind, look, bitmap, width, height);
    for (let i = 0; i < alpha.length; i += 1) {
      const share = kind === "overlay" ? 1 - (0.6 * alpha[i]) / 255 : alpha[i] / 255;
      for (let c = 0; c < 3; c += 1) {
        const other = behind ? behind[4 * i + c] : [255, 0, 0][c];
        data[4 * i + c] = share * data[4 * i + c] + (1 - share) * other;
      }
      data[4 * i + 3] = 255;
    }
  }
  return result;
}
