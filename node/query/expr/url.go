package expr

import (
	"bytes"
	"net/url"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "URL_ENCODE", Takes: "STRING", Result: batch.TypeString, Kernel: textKernel(urlEncode)},
	FunctionDef{Name: "URL_DECODE", Takes: "STRING", Result: batch.TypeString, MayBeNull: true, Kernel: urlDecode},
	FunctionDef{Name: "PARSE_URL", Takes: "STRING, STRING[, STRING]", Result: batch.TypeString, MayBeNull: true, Kernel: parseURL},
)

// urlEncode writes application/x-www-form-urlencoded as Java's URLEncoder.
func urlEncode(x *Call, dst []byte, i int) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range x.Args[0].Text(i) {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '*' || c == '_':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

func urlDecode(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		from, s := len(out.Data), x.Args[0].Text(i)
		for k := 0; k < len(s); k++ {
			switch s[k] {
			case '+':
				out.Data = append(out.Data, ' ')
			case '%':
				if k+2 >= len(s) || unhex(s[k+1]) < 0 || unhex(s[k+2]) < 0 {
					out.Data = out.Data[:from]
					out.SetNull(i)
					return
				}
				out.Data = append(out.Data, byte(unhex(s[k+1])<<4|unhex(s[k+2])))
				k += 2
			default:
				out.Data = append(out.Data, s[k])
			}
		}
	})
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// parseURL gives HOST, PATH, QUERY, REF, PROTOCOL, AUTHORITY, FILE or USERINFO of a URL, or one key of its query.
func parseURL(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		u, err := url.Parse(string(x.Args[0].Text(i)))
		if err != nil || u.Scheme == "" {
			out.SetNull(i)
			return
		}
		part := string(bytes.ToUpper(x.Args[1].Text(i)))
		if len(x.Args) > 2 {
			v, ok := queryKey(u.RawQuery, x.Args[2].Text(i))
			if part != "QUERY" || !ok {
				out.SetNull(i)
				return
			}
			out.Data = append(out.Data, v...)
			return
		}
		authority := u.Host
		if u.User != nil {
			authority = u.User.String() + "@" + u.Host
		}
		file := u.EscapedPath()
		if u.RawQuery != "" {
			file += "?" + u.RawQuery
		}
		v, ok := map[string]string{"HOST": u.Hostname(), "PATH": u.EscapedPath(), "QUERY": u.RawQuery, "REF": u.EscapedFragment(),
			"PROTOCOL": u.Scheme, "AUTHORITY": authority, "FILE": file, "USERINFO": u.User.String()}[part]
		if !ok || v == "" && part != "PATH" && part != "FILE" {
			out.SetNull(i)
			return
		}
		out.Data = append(out.Data, v...)
	})
}

func queryKey(query string, key []byte) (string, bool) {
	for len(query) > 0 {
		pair := query
		query = ""
		for k := range len(pair) {
			if pair[k] == '&' {
				pair, query = pair[:k], pair[k+1:]
				break
			}
		}
		for k := range len(pair) {
			if pair[k] == '=' && pair[:k] == string(key) {
				return pair[k+1:], true
			}
		}
	}
	return "", false
}
