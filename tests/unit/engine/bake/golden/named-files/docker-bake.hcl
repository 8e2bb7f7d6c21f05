target "z" {}
