// Media types by file extension. The table is built in; /etc/mime.types is not used.

package static

import (
	"fmt"
	"path"
	"strings"

	"tafe/httpparse"
)

const (
	bytesType = "application/octet-stream"
	utf8      = "; charset=utf-8"
)

// types are the common media types of the web, by lower-case extension. Text is UTF-8.
var types = map[string]string{
	".html": "text/html" + utf8, ".htm": "text/html" + utf8, ".xhtml": "application/xhtml+xml", ".css": "text/css" + utf8,
	".js": "text/javascript" + utf8, ".mjs": "text/javascript" + utf8, ".cjs": "text/javascript" + utf8,
	".json": "application/json", ".map": "application/json", ".jsonld": "application/ld+json", ".geojson": "application/geo+json",
	".ndjson": "application/x-ndjson", ".jsonl": "application/jsonl", ".webmanifest": "application/manifest+json",
	".xml": "text/xml" + utf8, ".xsl": "text/xml" + utf8, ".rss": "application/rss+xml", ".atom": "application/atom+xml",
	".wasm": "application/wasm",

	".txt": "text/plain" + utf8, ".text": "text/plain" + utf8, ".log": "text/plain" + utf8, ".md": "text/markdown" + utf8,
	".markdown": "text/markdown" + utf8, ".csv": "text/csv" + utf8, ".tsv": "text/tab-separated-values" + utf8,
	".ics": "text/calendar" + utf8, ".vcf": "text/vcard" + utf8, ".vtt": "text/vtt" + utf8,
	".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml", ".sql": "application/sql",

	".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
	".avif": "image/avif", ".heic": "image/heic", ".jxl": "image/jxl", ".svg": "image/svg+xml" + utf8, ".ico": "image/vnd.microsoft.icon",
	".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff",

	".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime", ".avi": "video/x-msvideo",
	".mkv": "video/matroska", ".mpeg": "video/mpeg", ".mpg": "video/mpeg", ".ts": "video/mp2t", ".m3u8": "application/vnd.apple.mpegurl",
	".mpd": "application/dash+xml", ".m4s": "video/iso.segment",
	".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg",
	".wav": "audio/wav", ".flac": "audio/flac", ".weba": "audio/webm", ".mid": "audio/midi", ".midi": "audio/midi",

	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".otf": "font/otf", ".ttc": "font/collection",
	".eot": "application/vnd.ms-fontobject",

	".pdf": "application/pdf", ".rtf": "application/rtf", ".epub": "application/epub+zip", ".ps": "application/postscript",
	".doc": "application/msword", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xls": "application/vnd.ms-excel", ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".ppt": "application/vnd.ms-powerpoint", ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".odt": "application/vnd.oasis.opendocument.text", ".ods": "application/vnd.oasis.opendocument.spreadsheet",

	".zip": "application/zip", ".gz": "application/gzip", ".tgz": "application/gzip", ".bz2": "application/x-bzip2", ".xz": "application/x-xz",
	".zst": "application/zstd", ".br": "application/octet-stream", ".tar": "application/x-tar", ".7z": "application/x-7z-compressed",
	".rar": "application/vnd.rar", ".jar": "application/java-archive", ".apk": "application/vnd.android.package-archive",
	".glb": "model/gltf-binary", ".gltf": "model/gltf+json", ".bin": bytesType, ".exe": bytesType, ".dmg": bytesType, ".iso": bytesType,
}

// typeOf returns the media type for a file name: from Options.Types, the table or the default.
func (s *Site) typeOf(name string) string {
	extension := strings.ToLower(path.Ext(name))
	if t, ok := s.types[extension]; ok {
		return t
	}
	if t, ok := types[extension]; ok {
		return t
	}
	if s.o.DefaultType != "" {
		return s.o.DefaultType
	}
	return bytesType
}

// TypeOf returns the built-in media type of an extension such as ".html", or "application/octet-stream".
func TypeOf(extension string) string {
	if t, ok := types[strings.ToLower(extension)]; ok {
		return t
	}
	return bytesType
}

// typesOf validates Options.Types and converts extensions to lower case.
func typesOf(o *Options) (map[string]string, error) {
	own := make(map[string]string, len(o.Types))
	for extension, t := range o.Types {
		if len(extension) < 2 || path.Ext(extension) != extension || strings.Contains(extension, "/") {
			return nil, fmt.Errorf("static: types: %q is not a single file extension such as \".foo\"", extension)
		}
		if !validType(t) {
			return nil, fmt.Errorf("static: types: %s: %q is not a media type such as \"text/x-foo\"", extension, t)
		}
		own[strings.ToLower(extension)] = t
	}
	if o.DefaultType != "" && !validType(o.DefaultType) {
		return nil, fmt.Errorf("static: default type: %q is not a media type such as \"text/plain\"", o.DefaultType)
	}
	return own, nil
}

func validType(t string) bool {
	name, _, _ := strings.Cut(t, ";")
	kind, subtype, ok := strings.Cut(strings.TrimSpace(name), "/")
	return ok && httpparse.ValidToken(kind) && httpparse.ValidToken(subtype) && httpparse.ValidFieldValue(t)
}
