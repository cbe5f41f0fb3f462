"""The words and labels of nano's pretraining text; all of them were written for this project.

The corpus ``demo`` shares none of them: no label, entity or sentence template (a test checks this).
"""

# One type per line: label id | Chinese name | endings of its words | contexts before it | contexts after it.
TYPES = """
disease|疾病|炎 症 病 综合征 癌 瘤 热 疹 结核 梗死|患有 确诊为 死于 预防 得了|的病人 发作了 会传染 的病因不清
symptom|症状|疼 痛 乏力 麻木 出血 水肿 发冷 咳嗽|出现 伴有 感到 主诉|持续三周 有所缓解 加重
drug|药物|片 胶囊 颗粒 注射液 口服液 丸 素 糖浆|服用 注射 开了 停用|的剂量 有副作用 见效快
therapy|疗法|疗法 切除术 移植术 放疗 针灸 按摩 灌注|接受 采用 施行 改用|之后康复 的费用
bacterium|细菌|菌 杆菌 球菌 弧菌 螺旋体|检出 培养出 感染|超标 的耐药性
virus|病毒|病毒 毒株 变异株|携带 感染了 分离出|的传播 正在变异
organ|器官|腺 肌 骨 神经 动脉 静脉 韧带|损伤了 压迫 连着|的功能 肿大 断裂
animal|动物|猴 鹿 熊 狼 羊 牛 鼠 豹 狐 貂 兔|发现一只 饲养 保护 猎杀|在觅食 的幼崽 濒临灭绝
bird|鸟类|鸟 雀 鹰 鹤 鸭 雁 鸥 鹭 鹦鹉|飞来一群 观察到 放飞|在筑巢 南迁 的羽毛
fish|鱼类|鱼 鲤 鲈 鲨 鳗 鲟 鲫|钓到 捕捞 放养|游过 的鳞片
insect|昆虫|虫 蝶 蛾 蜂 蚁 蝉 甲|叮咬 采集 灭杀|的幼虫 结茧
plant|植物|草 藤 蕨 苔 竹 蒿 苇|生长着 种植 采摘|的根茎 枯萎了
flower|花卉|花 兰 菊 莲 牡丹 玫瑰 梅|盛开着 插了一枝 送来|开了 的香气 凋谢
tree|树木|树 松 杉 柏 榕 槐 杨|砍伐 栽下 靠着一棵|的树皮 落叶 百年不枯
fruit|水果|果 桃 梨 橘 瓜 莓 枣 柚|吃了 采下 切开|熟了 很甜 的果核
vegetable|蔬菜|菜 椒 豆 笋 菇 薯 葱 萝卜|洗净 腌制 炒了|的叶子 涨价
crop|作物|麦 稻 粟 棉 麻 玉米 高粱|播种 收割 亩产|歉收 抗旱 的种子
dish|菜肴|汤 面 饭 羹 炖肉 火锅 烧鸡 炒饭 粥 丸子|点了 端上 尝一口 学做|很下饭 凉了 的做法
snack|小吃|糕 饼 糖 酥 粽 包子 麻花|买了 蒸好 配上|又香又脆 卖完了
sauce|调料|酱 油 醋 粉 盐 辣酱|撒上 倒入 少放|提鲜 过咸
tea|茶叶|茶 毛尖 普洱 龙井 乌龙|泡了 品尝 炒制|回甘 的汤色
liquor|酒类|酒 啤酒 白干 米酒 陈酿 威士忌|喝了 酿造 敬一杯|很烈 的度数
drink|饮料|汁 汽水 奶茶 咖啡 露 冰沙|来一杯 榨了 推荐|加冰 太甜
instrument|乐器|琴 鼓 笛 箫 琵琶 号 钟 铃|弹奏 敲响 学习吹|的音色 走音了
song|歌曲|曲 谣 歌 小调 进行曲|演唱 哼着 播放|的旋律 传唱至今
dance|舞蹈|舞 秧歌 圆舞 踢踏|跳起 排练 改编|的舞步 谢幕
opera|戏曲|戏 剧 腔 折子戏|登台唱 听了 排演|的唱腔 落幕
painting|画作|图 画 卷 像 壁画|临摹 展出 拍得|的笔触 褪色
calligraphy|字体|体 楷 隶 篆 行草|题写 练习 刻成|苍劲 的笔画
pottery|瓷器|瓶 碗 罐 盘 壶 瓷|出土 烧制 鉴定|的釉色 有裂纹
pattern|纹样|纹 锦 绣 图案|绣着 织成 饰以|对称 的线条
fabric|布料|布 绸 缎 纱 绒 呢|剪裁 染了 纺出|起皱 的质地
clothing|服装|裙 袍 衫 裤 靴 帽 外套|穿着 脱下 缝制|褪色了 的袖口
jewel|首饰|镯 戒 簪 项链 坠|戴着 典当 镶嵌|闪闪发光 丢了
furniture|家具|柜 椅 桌 榻 凳 屏风 床|搬来 打造 坐在|散架 的抽屉
tool|工具|刀 锤 锯 钳 锹 犁 扳手|挥动 磨快 借来|生锈 的手柄
toy|玩具|娃娃 积木 陀螺 风车 拼图|玩着 拆开 送他一个|摔坏了 会发声
weapon|武器|剑 枪 炮 弓 矛 导弹 手雷|装备 试射 举起|的射程 走火
aircraft|飞行器|机 直升机 轰炸机 无人机 飞艇|驾驶 击落 试飞|升空 坠毁
ship|船舶|舰 艇 轮 帆船 油轮 驳船|登上 打捞 建造|靠岸 沉没 的吨位
vehicle|车辆|车 卡车 轿车 摩托 拖拉机 三轮|驶来一辆 修理 撞上|抛锚 超速 的油耗
device|设备|仪 泵 炉 阀 电机 显示器 传感器|安装 检修 调试|报警 漏电 的寿命
chip|芯片|芯片 处理器 内存 主板|流片 焊接 搭载|的功耗 缺货
protocol|协议|协议 标准 规范 接口|遵守 兼容 起草|第二版 过时
program|程序|程序 插件 脚本 编译器 系统|运行 卸载 调用|崩溃 的源码 升级
algorithm|算法|算法 排序 网络 模型 搜索|提出 实现 改进|收敛 的复杂度
chemical|化学品|酸 碱 醇 酯 烷 氧化物|滴入 合成 检测|挥发 有毒 的浓度
metal|金属|钢 铁 铜 铝 合金 锡|熔炼 镀上 回收|生锈了 的熔点
mineral|矿物|石 矿 岩 砂 晶 土|开采 含有 勘探|的储量 风化
gem|宝石|玉 翡翠 玛瑙 钻 珠|佩戴 打磨 赌|成色好 的光泽
planet|天体|星 星云 彗星 星系 卫星|观测 命名了 绕着|的轨道 陨落
weather|天气现象|雨 雪 雾 风 霜 冰雹 雷|遭遇 预报有 迎来|持续到深夜 渐停
disaster|灾害|地震 洪水 台风 旱灾 火灾 海啸|遭受 防范 经历|过后 造成损失
law|法规|法 条例 规定 办法 法典|违反 修订 颁布|第九条 生效
tax|税种|税 费 关税 附加|征收 减免 缴纳|的税率 取消
currency|货币|币 元 镑 盾 卢布|兑换 发行 持有|贬值 的面额
award|奖项|奖 勋章 奖杯 奖学金|荣获 颁发 角逐|的得主 空缺
contest|赛事|赛 杯 联赛 锦标赛 马拉松|参加 举办 直播|的决赛 延期
sport|运动|球 跑 跳 拳 滑雪 体操|练习 擅长 热爱|的规则 入奥
subject|学科|学 理论 工程学 史学|攻读 讲授 选修|的学分 难懂
theory|学说|论 主义 定理 假说 定律|反对 证明 信奉|的提出 被推翻
exam|考试|考试 测验 会考 竞试|通过 报考 缓考|的题目 改期
language|语言|语 文 话 方言|会说 学习 翻译成|的语法 失传
ethnic|民族|族 部落 人 支系|来自 融入 属于|的风俗 迁徙
dynasty|朝代|朝 代 王朝 年间|始于 灭了 建立|的都城 覆亡
festival|节日|节 庙会 祭 周年|庆祝 迎接 欢度|的习俗 将至
religion|宗教|教 宗 派|皈依 传播 信仰|的教义 兴起
deity|神祇|神 仙 娘娘 菩萨 大王|供奉 祭拜 传说中|显灵 的塑像
battle|战役|战役 之战 起义 会战 突围|打响 经历了 指挥|的胜利 爆发
event|事件|事件 案 运动 危机 风波|卷入 爆出 平息|的真相 之后
craft|工艺|工艺 刻 编 雕 刺绣 剪纸|传承 钻研 申报|的手艺 后继无人
part|构件|梁 柱 瓦 檐 拱 窗 榫|更换 架起 雕刻|断了 的榫卯
cosmetic|化妆品|霜 乳 膏 口红 面膜 精华|涂抹 试用 代购|过敏 的成分
colour|颜色|色 红 蓝 绿 灰 紫|涂成 染成 偏爱|的墙面 太亮
unit|计量单位|米 吨 升 斤 公里 度 瓦|约合 折合 超过一|左右 的误差
period|时段|年 月 时 日 世纪 周|直到 始于 定在|之前 期间
material|材料|纤维 塑料 陶瓷 橡胶 涂层 薄膜|研制 使用 覆盖|的强度 老化
cell|细胞|细胞 蛋白 基因 酶 受体|表达 激活 提取|突变 的活性
policy|政策|政策 方案 计划 制度|实施 出台 落实|的细则 见效
literary|文体|诗 词 赋 散文 对联|吟诵 创作 抄写|的韵脚 流传
"""

# Cues that fit a mention of any type.
BEFORE = """
关于 提到 有人说 包括 比如 其中 至于 例如 除了 所谓 这种 那个 一种 我们 他们 专门研究 喜欢 讨论 介绍 看见 想起 需要
不是 就是 叫做 名为
正如 按照 因为 如果 尽管 仅有 还有 没有 经过 针对 面向 靠近 属于 几乎 其实 突然 终于 常常 曾经 已经 正在 将要 必须
可能 应该 也许 的 了 是 把 被
让 向 对 从 给 与 和 或 及 同 在 为 用 比 到 由 以 更 最 很 都 只 又 再 第一次见到 据文献记载 当地人管它叫 老人讲起
她买的 孩子问什么是 网上热议
""".split()
AFTER = """
的报道 的研究 的介绍 的问题 的特点 的历史 的名字 的图片 很常见 很少见 不多 最多 有很多 是真的 也一样 之类 等等
以及其他 而已 罢了 吗 呢 吧 了 的
最为重要 十分关键 令人难忘 被记录下来 写在本子上 出现在屏幕里 引来围观 无人知晓 让我好奇 究竟怎样 还在讨论 尚无定论
后来才有 早已有之 何时出现
曾被提起 不再需要 值得留意 到处都有 就这样定了 为主 为辅 居多 不足 以外 以后 以前 之间 里面 上面 旁边 附近 当中
""".split()
JOINTS = "和 、 与 或 及 以及 跟 、还有 ，再加上 /".split()
ENDINGS = ["。", "。", "。", "", "！", "？", "；", "……", ".", "~"]
SEPARATORS = ["，", "，", "，", "；", "。", " ", ",", "——"]

# Common words of no kind, for sentences without a mention and around mentions.
FILLERS = """
今年 后来 大约 通常 部分 主要 情况 方面 左右 同时 首先 其次 总之 虽然 但是 所以 于是 然后 一直 刚刚 早上 晚上 中间
下面 前面 外边 那里 这里 哪里
什么 怎么 多少 每天 每次 有时 一些 许多 少数 全部 整个 各种 不同 相同 类似 简单 复杂 容易 困难 清楚 明显 重要 普通
特别 非常 比较 相当 稍微 完全
开始 结束 继续 停止 增加 减少 提高 降低 改变 保持 发展 变化 影响 作用 原因 结果 方法 过程 目的 意义 条件 环境 时候
地方 东西 事情 朋友 家人 孩子
老师 学生 工人 农民 医生 大家 自己 别人 认为 觉得 知道 希望 决定 准备 打算 记得 忘记 明白 理解 相信 怀疑 同意 拒绝
支持 关注 参观 访问 旅行 工作
休息 吃饭 睡觉 走路 跑步 说话 唱歌 看书 写字 画画 买卖 收到 寄出 打开 关闭 进入 离开 回来 出去 上去 下来 起来 过去
三个 五次 十年 两天 一半
百分之八 第二 最后 目录 文章 照片 声音 颜色深 味道浓 温度高 速度快 时间长 距离远 面积大 数量少 价格贵 质量好 天冷
下着小雨 阳光明媚 水流平缓
人来人往 静悄悄 热闹 安静 干净 漂亮 奇怪 有趣 无聊 认真 仔细 小心 努力 着急 高兴 难过 生气 害怕 满意 失望 可惜 果然
竟然 居然 恐怕 大概 似乎
""".split()

# English words from which, with the ids of TYPES, the tokenizer learns its Latin merges.
ID_WORDS = """
alpha amber angle apple arrow basic batch blade block blend board brick bridge brief bright brush cabin candle canal
carbon castle chain chart child class
clear cloud coast coral count craft cream crown curve cycle dance delta depth diary draft dream drift eagle earth
elder entry equal event fiber field final
flame flash floor focus forest frame fresh front ghost giant glass globe grain grand graph green group guard guide
habit heart hotel house human ideal image
index inner input issue joint judge knife label laser layer level light limit local logic lunch magic maker march
match medal metal minor model money month
motor mount mouse music night noise north novel ocean offer order other outer owner paint panel paper party patch
phase phone photo piece pilot pitch point
pound power press price pride prime print prize proof proud queen quick quiet radio range rapid ratio reach ready
realm rival river robot rough round route
royal rural scale scope score sense serve shade shape share sheet shell shift shore short sight skill sleep slice
slope small smart smile smoke solid sound
south space spare spark speed spice spine split sport staff stage stamp stand start state steam steel stick stock
stone store storm story strip study style
sugar suite table taste teach theme thick thing tiger title token topic total touch tower trace track trade trail
train treat trend trial tribe truck trust
union upper urban usage valid value video visit vital voice waste watch water wheel white whole width woman world
yield young zone creation relation mission
station action option nation ration election section solution condition tradition collection direction production
education pressure measure treasure feature
nature culture structure picture future movement element moment cement document instrument agreement department
payment equipment darkness
kindness business fitness witness happiness teacher singer driver writer leader reader farmer worker visitor doctor
actor factor sector vector editor monitor
history memory victory factory theory country century library gallery battery mystery industry city quality identity
activity security community university
""".split()

# Rarer characters used in names; each is one token, like the 3,755 of GB2312's first level.
RARER = (
    ""
    "娅珊莎妮琪琳琦瑶璐瑾婷媛斌彬昊晟煜熙炜烨梓楠沐泓淇涵滢瀚皓睿禹筱绮芸茜莹菲萱蓉蕾薇轩逸钰铭雯霏韵馨骏骁鑫邵郝闫佟邱岚峪栾隋阎甄嫣婧姝娴颖"
    ""
    "黛曦彦彤宸妍佩倩侃伽圳埔嵩峥嵘泸洱渭淞涿漯濮邯郸鄂衢闽赣黔粤琼亳瑜璇珂珏玮珲瑛琛琰璋璞琅琊婉娇嫦娓婕羿翊翎翌翱耿聂茗荀莘菡葛蒋蓓蔚薛螺"
    ""
    "诺诸谌谭贾赟邓郑郦鄞釜钊钏钧铮锟镕镇阖阮陶隽雍霁靖鞠韦韬顗颜飓鲍鲲鹃鹏麒麟黎鼐龚炯焱焕煊熹燊爽牟猗珙甯痕皋皑盈眉砚硕祁祺禄稔"
)
