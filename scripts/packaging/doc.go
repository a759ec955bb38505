// Package packaging makes the Debian package and the tar of a release: make package. It is a module of its own, so that what the packager
// needs is no part of the product's module graph. What the package does is in nfpm.yaml, how it is made in build.sh; the tests install,
// upgrade and remove it in a directory of their own.
package packaging
