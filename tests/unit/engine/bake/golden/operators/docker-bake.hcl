target "a" {
 args = { a = [for s in ["x","y"] : upper(s)][0], b = {for k,v in {q="1"} : v => k}["1"], c = true ? "y" : "n", d = [1,2,3][*] == null, e= "a" == "b" || !false && 3 > 2, f = -(2) + 10 % 4 }
}
