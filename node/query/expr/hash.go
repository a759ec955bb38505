package expr

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	digest("MD5", func(dst, s []byte) []byte { h := md5.Sum(s); return hex.AppendEncode(dst, h[:]) }),
	digest("SHA1", func(dst, s []byte) []byte { h := sha1.Sum(s); return hex.AppendEncode(dst, h[:]) }),
	digest("SHA224", sha224), digest("SHA256", sha256Hex), digest("SHA384", sha384), digest("SHA512", sha512Hex),
	FunctionDef{Name: "SHA2", Takes: "STRING|BYTES, INT", Result: batch.TypeString, Kernel: sha2, MayFail: true},
	FunctionDef{Name: "ASCII", Takes: "STRING", Result: batch.TypeInt, Kernel: func(x *Call, out *batch.Column, n int) {
		for i := range n {
			out.Int64s[i] = 0
			if s := x.Args[0].Text(i); len(s) > 0 {
				out.Int64s[i] = int64(int8(s[0])) // the first byte, as Java sees it
			}
		}
	}},
	FunctionDef{Name: "CHR", Takes: "INT", Result: batch.TypeString, Kernel: textKernel(func(x *Call, dst []byte, i int) []byte {
		if v := x.Args[0].Int(i); v >= 0 {
			return utf8.AppendRune(dst, rune(v&0xff))
		}
		return dst
	})},
	FunctionDef{Name: "TO_BASE64", Takes: "STRING|BYTES", Result: batch.TypeString, Kernel: textKernel(func(x *Call, dst []byte, i int) []byte {
		return base64.StdEncoding.AppendEncode(dst, x.Args[0].Text(i))
	})},
	FunctionDef{Name: "FROM_BASE64", Takes: "STRING", Result: batch.TypeString, MayBeNull: true, Kernel: fromBase64},
	FunctionDef{Name: "ENCODE", Takes: "STRING, STRING", Result: batch.TypeBytes, MayFail: true, Kernel: textKernel(encodeText)},
	FunctionDef{Name: "DECODE", Takes: "BYTES, STRING", Result: batch.TypeString, MayFail: true, Kernel: textKernel(decodeText)},
)

func digest(name string, f func(dst, s []byte) []byte) FunctionDef {
	return FunctionDef{Name: name, Takes: "STRING|BYTES", Result: batch.TypeString,
		Kernel: textKernel(func(x *Call, dst []byte, i int) []byte { return f(dst, x.Args[0].Text(i)) })}
}

func sha224(dst, s []byte) []byte    { h := sha256.Sum224(s); return hex.AppendEncode(dst, h[:]) }
func sha256Hex(dst, s []byte) []byte { h := sha256.Sum256(s); return hex.AppendEncode(dst, h[:]) }
func sha384(dst, s []byte) []byte    { h := sha512.Sum384(s); return hex.AppendEncode(dst, h[:]) }
func sha512Hex(dst, s []byte) []byte { h := sha512.Sum512(s); return hex.AppendEncode(dst, h[:]) }

func sha2(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		s, bits := x.Args[0].Text(i), x.Args[1].Int(i)
		switch bits {
		case 224:
			out.Data = sha224(out.Data, s)
		case 256:
			out.Data = sha256Hex(out.Data, s)
		case 384:
			out.Data = sha384(out.Data, s)
		case 512:
			out.Data = sha512Hex(out.Data, s)
		default:
			x.Fail(i, "there is no SHA-2 of %d bits; there are 224, 256, 384 and 512", bits)
		}
	})
}

func fromBase64(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		from := len(out.Data)
		dst, err := base64.StdEncoding.AppendDecode(out.Data, x.Args[0].Text(i))
		if err != nil {
			out.Data = out.Data[:from]
			out.SetNull(i)
			return
		}
		out.Data = dst
	})
}

func charset(name []byte) (string, error) {
	c := strings.ToUpper(string(name))
	switch c {
	case "UTF-8", "US-ASCII", "ISO-8859-1", "UTF-16BE", "UTF-16LE", "UTF-16":
		return c, nil
	}
	return "", fmt.Errorf("%q is not a character set; there are UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE and UTF-16LE", name)
}

func encodeText(x *Call, dst []byte, i int) []byte {
	set, err := charset(x.Args[1].Text(i))
	if err != nil {
		x.Fail(i, "%v", err)
		return dst
	}
	s := x.Args[0].Text(i)
	if set == "UTF-8" {
		return append(dst, s...)
	}
	if set == "UTF-16" {
		dst = append(dst, 0xfe, 0xff)
	}
	for len(s) > 0 {
		r, w := utf8.DecodeRune(s)
		s = s[w:]
		limit := rune(0x80)
		if set == "ISO-8859-1" {
			limit = 0x100
		}
		if set == "US-ASCII" || set == "ISO-8859-1" {
			if r >= limit {
				r = '?'
			}
			dst = append(dst, byte(r))
			continue
		}
		var pair [2]uint16
		for _, u := range utf16.AppendRune(pair[:0], r) {
			if set == "UTF-16LE" {
				dst = append(dst, byte(u), byte(u>>8))
			} else {
				dst = append(dst, byte(u>>8), byte(u))
			}
		}
	}
	return dst
}

func decodeText(x *Call, dst []byte, i int) []byte {
	set, err := charset(x.Args[1].Text(i))
	if err != nil {
		x.Fail(i, "%v", err)
		return dst
	}
	s := x.Args[0].Text(i)
	switch set {
	case "UTF-8":
		return append(dst, s...)
	case "US-ASCII", "ISO-8859-1":
		for _, c := range s {
			r := rune(c)
			if c >= 0x80 && set == "US-ASCII" {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
		}
		return dst
	}
	little := set == "UTF-16LE"
	if set == "UTF-16" && len(s) >= 2 && (s[0] == 0xfe && s[1] == 0xff || s[0] == 0xff && s[1] == 0xfe) {
		little = s[0] == 0xff
		s = s[2:]
	}
	unit := func() rune {
		u := rune(s[0])<<8 | rune(s[1])
		if little {
			u = rune(s[1])<<8 | rune(s[0])
		}
		s = s[2:]
		return u
	}
	for len(s) >= 2 {
		r := unit()
		if utf16.IsSurrogate(r) && len(s) >= 2 {
			r = utf16.DecodeRune(r, unit())
		}
		dst = utf8.AppendRune(dst, r)
	}
	if len(s) > 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	return dst
}
